"""StyleGAN2 as its papers and official code define it, written out: one sample at a time, one weight
tensor per sample, in float64. Nothing of the network that the project serves is used here.

Papers: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), "Training Generative
Adversarial Networks with Limited Data" (2020; its clamp).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

_ROW = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)


@dataclass
class Conv:
    """A convolution with a style: 3x3 with noise, or 1x1 to colours without.

    weight [O, I, k, k] is laid over the image as it is (correlation); where `up`, over the image of twice
    the side. affine_weight [I, D] and affine_bias [I] make the style; noise is [side, side].
    """

    weight: Tensor
    affine_weight: Tensor
    affine_bias: Tensor
    bias: Tensor
    strength: Tensor | None = None
    noise: Tensor | None = None
    up: bool = False


@dataclass
class Block:
    """One resolution: a single convolution at 4x4, an upsampling and a plain one elsewhere."""

    convs: list[Conv]
    to_rgb: Conv


@dataclass
class StyleGAN2:
    """All numbers of a generator; `dense` is the mapping's (weight [out, in], bias [out])."""

    dense: list[tuple[Tensor, Tensor]]
    lr_multiplier: float
    w_avg: Tensor
    const: Tensor
    blocks: list[Block]
    clamp: float | None = None

    @property
    def convs(self) -> list[Conv]:
        return [conv for block in self.blocks for conv in block.convs]

    @property
    def size(self) -> int:
        return 4 * 2 ** (len(self.blocks) - 1)

    @property
    def style_dim(self) -> int:
        return len(self.w_avg)


def random_network(
    widths: Sequence[int],
    style_dim: int,
    depth: int,
    lr_multiplier: float = 0.01,
    clamp: float | None = None,
    seed: int = 0,
) -> StyleGAN2:
    """A network in which every number counts. widths: feature maps of 4x4, 8x8, and so on."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    def conv(maps_in: int, maps_out: int, kernel: int, side: int | None, up: bool = False) -> Conv:
        return Conv(
            weight=normal(maps_out, maps_in, kernel, kernel),
            affine_weight=normal(maps_in, style_dim),
            affine_bias=1 + 0.3 * normal(maps_in),
            bias=0.5 * normal(maps_out),
            strength=None if side is None else 0.3 * normal(1)[0],
            noise=None if side is None else normal(side, side),
            up=up,
        )

    blocks = [Block([conv(widths[0], widths[0], 3, 4)], conv(widths[0], 3, 1, None))]
    for level, (below, here) in enumerate(pairwise(widths), start=1):
        side = 4 * 2**level
        convs = [conv(below, here, 3, side, up=True), conv(here, here, 3, side)]
        blocks.append(Block(convs, conv(here, 3, 1, None)))
    # what is learned at a rate of lr_multiplier is stored so much larger
    dense = [
        (normal(style_dim, style_dim) / lr_multiplier, 0.5 * normal(style_dim) / lr_multiplier)
        for _ in range(depth)
    ]
    w_avg, const = 0.5 * normal(style_dim), normal(widths[0], 4, 4)
    return StyleGAN2(dense, lr_multiplier, w_avg, const, blocks, clamp)


def activated(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def mapping(net: StyleGAN2, z: Tensor) -> Tensor:
    """z [D] -> w [D]."""
    x = z.double()
    x = x / torch.sqrt((x * x).mean() + 1e-8)
    for weight, bias in net.dense:
        rate = net.lr_multiplier
        x = activated(weight.double() * rate / math.sqrt(len(x)) @ x + bias.double() * rate)
    return x


def broadcast(net: StyleGAN2, w: Tensor) -> Tensor:
    """w [D] -> w+ [layers, D]: a style per convolution, and one for the last colours."""
    return w.double().expand(len(net.convs) + 1, -1)


def truncate(net: StyleGAN2, w_plus: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """w+ [layers, D] pulled towards the mean, on the first `cutoff` layers."""
    mean = net.w_avg.double()
    rows = [
        mean + psi * (w - mean) if cutoff is None or layer < cutoff else w
        for layer, w in enumerate(w_plus.double())
    ]
    return torch.stack(rows)


def doubled(x: Tensor, before: int, after: int) -> Tensor:
    """Zeros between the pixels of [C, H, W] and as a border, then the [1, 3, 3, 1] filter at a gain of 4."""
    channels, height, width = x.shape
    grid = torch.zeros(channels, 2 * height, 2 * width, dtype=x.dtype)
    grid[:, ::2, ::2] = x
    grid = F.pad(grid, (before, after, before, after))
    height, width = grid.shape[1] - 3, grid.shape[2] - 3
    total = torch.zeros(channels, height, width, dtype=x.dtype)
    for i in range(4):
        for j in range(4):
            tap = 4 * _ROW[i] * _ROW[j] / _ROW.sum() ** 2
            total += tap * grid[:, i : i + height, j : j + width]
    return total


def convolved(conv: Conv, x: Tensor, w: Tensor, demodulate: bool) -> Tensor:
    """[I, H, W] -> [O, H, W], twice the side where the convolution upsamples."""
    style = conv.affine_weight.double() @ w / math.sqrt(len(w)) + conv.affine_bias.double()
    weight = conv.weight.double() / math.sqrt(conv.weight[0].numel())
    weight = weight * style[None, :, None, None]
    if demodulate:
        weight = torch.stack([kernel / torch.sqrt((kernel**2).sum() + 1e-8) for kernel in weight])
    margin = weight.shape[-1] // 2
    # the border of zeros comes once, before the filter, wide enough for filter and convolution
    x = doubled(x, 2 + margin, 1 + margin) if conv.up else F.pad(x, (margin,) * 4)
    return F.conv2d(x[None], weight)[0]


def clamped(net: StyleGAN2, x: Tensor) -> Tensor:
    return x if net.clamp is None else x.clamp(-net.clamp, net.clamp)


def synthesis(net: StyleGAN2, w_plus: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
    """w+ [layers, D] -> image [3, S, S]. noise: a map [side, side] per convolution, or nothing."""
    styles = w_plus.double()
    x, image, layer = net.const.double(), None, 0
    for block in net.blocks:
        for conv in block.convs:
            x = convolved(conv, x, styles[layer], demodulate=True)
            if noise is not None:
                assert conv.strength is not None
                x = x + conv.strength.double() * noise[layer].double()
            x = clamped(net, activated(x + conv.bias.double()[:, None, None]))
            layer += 1
        rgb = convolved(block.to_rgb, x, styles[layer], demodulate=False)
        rgb = clamped(net, rgb + block.to_rgb.bias.double()[:, None, None])
        image = rgb if image is None else doubled(image, 2, 1) + rgb
    assert image is not None
    return image


def constant_noise(net: StyleGAN2) -> list[Tensor]:
    """The maps that are stored with the weights."""
    return [conv.noise for conv in net.convs if conv.noise is not None]
