"""The line-drawing network: the shape of bobbens' released Sketch Simplification `model_gan`
(Simo-Serra et al., "Mastering Sketching", TOG 2018, https://arxiv.org/abs/1703.08966), fully
convolutional with stride 8, its batch norms folded into the convolutions.

The layers form one flat `nn.Sequential`, so the keys are `0.weight, 0.bias, 2.weight … 44.bias`,
as in the published PyTorch conversions; ports that nest the layers hold the same tensors in the
same order.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 8
# Statistics of the grey [0,1] drawings that the released GAN model was trained on.
MODEL_GAN_MEAN = 0.9664114577640158
MODEL_GAN_STD = 0.0858381272736797

# (kind, channels at width 1, kernel): "down" halves the side, "up" doubles it, "same" keeps it.
LAYERS: tuple[tuple[str, int, int], ...] = (
    ("down", 48, 5), ("same", 128, 3), ("same", 128, 3),
    ("down", 128, 3), ("same", 256, 3), ("same", 256, 3),
    ("down", 256, 3), ("same", 512, 3), ("same", 1024, 3), ("same", 1024, 3), ("same", 1024, 3),
    ("same", 1024, 3), ("same", 512, 3), ("same", 256, 3),
    ("up", 256, 4), ("same", 256, 3), ("same", 128, 3),
    ("up", 128, 4), ("same", 128, 3), ("same", 48, 3),
    ("up", 48, 4), ("same", 24, 3), ("same", 1, 3),
)  # fmt: skip


class SketchSimplification(nn.Sequential):
    """Normalised grey images [N,1,H,W], H and W multiples of 8 -> drawings [N,1,H,W] in (0,1).

    In the output 1 is white paper and 0 a full line. `width` scales the channels of every hidden
    layer; no hidden layer gets fewer than `min_channels`, because the outermost layers, which
    hold the fine detail of the lines, would starve at a small width. Width 1 is the released
    network. `channels` gives those of every hidden layer instead.
    """

    def __init__(
        self, width: float = 1.0, min_channels: int = 1, channels: Sequence[int] | None = None
    ) -> None:
        if channels is None:
            channels = [max(math.ceil(count * width), min_channels) for _, count, _ in LAYERS[:-1]]
        layers: list[nn.Module] = []
        inputs = 1
        for (kind, _, kernel), outputs in zip(LAYERS, [*channels, 1], strict=True):
            stride = 1 if kind == "same" else 2
            if kind == "up":
                layers.append(nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding=1))
            else:
                layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2))
            layers.append(nn.ReLU())
            inputs = outputs
        super().__init__(*layers[:-1], nn.Sigmoid())

    def logits(self, x: Tensor) -> Tensor:
        """The output before the last sigmoid, for losses that want it in full precision."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


def luminance(rgb: Tensor) -> Tensor:
    """[…,3,H,W] -> […,1,H,W], ITU-R 601 weights: what Pillow's mode 'L' computes."""
    weights = torch.tensor((0.299, 0.587, 0.114), dtype=rgb.dtype, device=rgb.device)
    return (rgb * weights.view(3, 1, 1)).sum(-3, keepdim=True)


def normalise(grey: Tensor, mean: float, std: float) -> Tensor:
    """Grey in [0,1] -> network input."""
    return (grey - mean) / std


def pad_to_stride(images: Tensor) -> Tensor:
    """Repeat the right and bottom edges of [N,C,H,W] until both sides are multiples of 8."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")


def crop_to(drawings: Tensor, size: Sequence[int]) -> Tensor:
    """Undo `pad_to_stride`: the top left (height, width) of [N,C,H,W]."""
    return drawings[..., : size[0], : size[1]]


def apply_levels(drawings: Tensor, black: float, white: float) -> Tensor:
    """Stretch [black, white] to [0,1] and clip: cleans the paper and darkens the lines."""
    return ((drawings - black) / (white - black)).clamp(0, 1)
