"""pixel2style2pixel: a picture to the w+ of a StyleGAN2 (Richardson et al., "Encoding in Style: a
StyleGAN Encoder for Image-to-Image Translation", CVPR 2021).

Names are those of eladrich/pixel2style2pixel, so that `encoder.*` of a published checkpoint loads
strictly at the default sizes. Unlike there, widths, depths, the input's side and the number of styles
are arguments, and the decoder is any `faceloom.stylegan2.network.Generator`.

    x [N, C, S, S] ─ input_layer ─ body ─┬─ c1 [S/4] ──── + p1 ─ fine styles
                                         ├─ c2 [S/8] ──── + p2 ─ middle styles
                                         └─ c3 [S/16] ─── coarse styles
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.stylegan2.layers import EqualLinear

# Styles 0 to 2 are read off the coarsest map, 3 to 6 off the middle one.
COARSE, MIDDLE = 3, 7
_REDUCTION = 16


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate that sees all channels' means: [N, C, H, H], unchanged in shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // _REDUCTION)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        gate: Tensor = self.fc2(self.fc1(means).relu()).sigmoid()
        return x * gate


class BottleneckIRSE(nn.Module):
    """ArcFace's improved residual block with squeeze and excitation: [N, I, H, H] -> [N, O, H/stride, .]."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if in_channels == channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcite(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class GradualStyleBlock(nn.Module):
    """map2style: one map [N, C, s, s], s a power of two, to one style [N, D], by halving it to 1x1."""

    def __init__(self, in_channels: int, style_dim: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(int(math.log2(side))):
            layers += [nn.Conv2d(in_channels, style_dim, 3, 2, 1), nn.LeakyReLU()]
            in_channels = style_dim
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(style_dim, style_dim)

    def forward(self, x: Tensor) -> Tensor:
        style: Tensor = self.linear(self.convs(x).flatten(1))
        return style


class GradualStyleEncoder(nn.Module):
    """Picture [N, input_nc, side, side] -> styles [N, n_styles, style_dim], offsets from the mean latent.

    Args:
        input_nc: Channels: 1 for sketches, one per class for layouts, 3 for faces.
        n_styles: Layers of the decoder, `Generator.n_latent`.
        style_dim: Length of one w.
        side: Of the input, a power of two from 32.
        blocks: Residual blocks in each of the four units.
        widths: Channels of the four units.
        deltas: Whether all heads but the first say how their style differs from the first one, as in e4e (Tov
            et al., "Designing an Encoder for StyleGAN Image Manipulation", SIGGRAPH 2021), which has the
            same tensors.
    """

    def __init__(
        self,
        input_nc: int,
        n_styles: int,
        style_dim: int = 512,
        side: int = 256,
        blocks: Sequence[int] = (3, 4, 14, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        deltas: bool = False,
    ) -> None:
        super().__init__()
        if side < 32 or side & (side - 1):
            raise ValueError(f"side is {side}; a power of two from 32 is needed")
        self.side = side
        self.deltas = deltas
        self.input_layer = nn.Sequential(
            nn.Conv2d(input_nc, widths[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.PReLU(widths[0]),
        )
        body = []
        channels = widths[0]
        for count, width in zip(blocks, widths, strict=True):
            for index in range(count):
                body.append(BottleneckIRSE(channels, width, stride=2 if index == 0 else 1))
                channels = width
        self.body = nn.Sequential(*body)
        # The last blocks of the second, third and fourth unit are looked at.
        self._taps = [sum(blocks[: unit + 1]) - 1 for unit in (1, 2, 3)]
        self.styles = nn.ModuleList(
            GradualStyleBlock(
                widths[3], style_dim, side // (16 if i < COARSE else 8 if i < MIDDLE else 4)
            )
            for i in range(n_styles)
        )
        self.latlayer1 = nn.Conv2d(widths[2], widths[3], 1)
        self.latlayer2 = nn.Conv2d(widths[1], widths[3], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_layer(x)
        maps = []
        for index, block in enumerate(self.body):
            x = block(x)
            if index in self._taps:
                maps.append(x)
        fine, middle, coarse = maps
        middle = _upsample_add(coarse, self.latlayer1(middle))
        fine = _upsample_add(middle, self.latlayer2(fine))
        styles = torch.stack(
            [
                head(coarse if i < COARSE else middle if i < MIDDLE else fine)
                for i, head in enumerate(self.styles)
            ],
            1,
        )
        if self.deltas:
            return torch.cat([styles[:, :1], styles[:, :1] + styles[:, 1:]], 1)
        return styles


def _upsample_add(coarse: Tensor, fine: Tensor) -> Tensor:
    return fine + F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)
