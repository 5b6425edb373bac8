"""lllyasviel's sketchKeras (https://github.com/lllyasviel/sketchKeras): a U-Net that finds the lines of a
painting in its fine detail, with what is done to a picture before and after.

Names are those of higumax/sketchKeras-pytorch, whose weights load strictly.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.core.arrays import Pixels

# Pictures are made as long as this, and the rest of the square is empty.
SIDE = 512
CHANNELS = (32, 64, 128, 256, 512)
# Of the blur that takes the detail out of a picture: a Gaussian of 3 pixels in 256ths, up to its middle.
# OpenCV rounds its taps from the end on, and gives to each what the one before lost.
_TAPS = (0, 1, 3, 4, 9, 14, 20, 28, 32, 34)
_REACH = len(_TAPS) - 1
# Keras' own; PyTorch has another.
_EPS = 1e-3


class SketchKeras(nn.Module):
    """Detail [N,1,H,W], H and W multiples of 16 -> lines [N,1,H,W], about 0 on paper and 1 on a line.

    `channels` are those of the five resolutions, from the largest on.
    """

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        self.downblock_1 = nn.Sequential(*_conv(1, c1, 3))
        self.downblock_2 = nn.Sequential(*_conv(c1, c2, 4), *_conv(c2, c2, 3))
        self.downblock_3 = nn.Sequential(*_conv(c2, c3, 4), *_conv(c3, c3, 3))
        self.downblock_4 = nn.Sequential(*_conv(c3, c4, 4), *_conv(c4, c4, 3))
        self.downblock_5 = nn.Sequential(*_conv(c4, c5, 4))
        self.downblock_6 = nn.Sequential(*_conv(c5, c5, 3))
        self.upblock_1 = _up(c5, c4)
        self.upblock_2 = _up(c4, c3)
        self.upblock_3 = _up(c3, c2)
        self.upblock_4 = _up(c2, c1)
        self.last_pad = nn.ReflectionPad2d(1)
        self.last_conv = nn.Conv2d(2 * c1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        d1 = self.downblock_1(x)
        d2 = self.downblock_2(d1)
        d3 = self.downblock_3(d2)
        d4 = self.downblock_4(d3)
        d5 = self.downblock_5(d4)
        up = self.upblock_1(torch.cat([d5, self.downblock_6(d5)], 1))
        up = self.upblock_2(torch.cat([d4, up], 1))
        up = self.upblock_3(torch.cat([d3, up], 1))
        up = self.upblock_4(torch.cat([d2, up], 1))
        lines: Tensor = self.last_conv(self.last_pad(torch.cat([d1, up], 1)))
        return lines


def _conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """The larger kernel halves the side."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=2 if kernel == 4 else 1)
    return [nn.ReflectionPad2d(1), conv, nn.BatchNorm2d(outputs, _EPS), nn.ReLU()]


def _up(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the side; takes two pictures of `inputs` channels, one on top of the other."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        # An even kernel has no middle.
        nn.ReflectionPad2d((1, 2, 1, 2)),
        nn.Conv2d(2 * inputs, inputs, 4),
        nn.BatchNorm2d(inputs, _EPS),
        nn.ReLU(),
        *_conv(inputs, outputs, 3),
    )


def detail(pixels: Pixels) -> Tensor:
    """uint8 [H,W,3] -> what is left of each colour without its blur, [3,1,SIDE,SIDE], at most 1.

    The picture is at the top left, its longer side SIDE long; the shorter one must become 10 at least.
    """
    fitted = torch.from_numpy(np.array(_fitted(pixels))).permute(2, 0, 1)[:, None].float()
    difference = (fitted - _blurred(fitted)) / 128
    # A picture of one colour has none.
    difference = difference / difference.max() if difference.max() > 0 else difference
    height, width = fitted.shape[2:]
    return F.pad(difference, (0, SIDE - width, 0, SIDE - height))


def drawing(lines: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Lines of the three colours [3,1,SIDE,SIDE] -> a drawing [H,W] in [0,1], in which 1 is paper.

    Args:
        lines: What the network found.
        size: H and W of the picture that was looked at.
        threshold: Lines that are fainter than this are left out.
    """
    height, width = _fitted_size(*size)
    strongest = lines.amax(0, keepdim=True)[..., :height, :width]
    paper = (1 - strongest.where(strongest >= threshold, 0)).clamp(0, 1)
    if (height, width) != size:
        paper = F.interpolate(paper, size, mode="bilinear", antialias=True)
    return paper[0, 0]


def _fitted(pixels: Pixels) -> Image.Image:
    height, width = pixels.shape[:2]
    picture = Image.fromarray(pixels)
    wanted = _fitted_size(height, width)
    if wanted == (height, width):
        return picture
    # As OpenCV's INTER_AREA: means of areas where it shrinks, straight lines where it grows.
    shrinks = max(height, width) > SIDE
    way = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return picture.resize(wanted[::-1], way)


def _fitted_size(height: int, width: int) -> tuple[int, int]:
    if width > height:
        return int(SIDE / width * height), SIDE
    return SIDE, int(SIDE / height * width)


def _blurred(images: Tensor) -> Tensor:
    """[N,1,H,W] of whole numbers to 255 -> the same blurred, as OpenCV's `GaussianBlur` of 8 bits does it.

    It computes in fixed point: the taps are 256ths, of both passes together 65536ths, and the sum is rounded
    once. Whole numbers below 2^24 are exact in float32.
    """
    kernel = torch.tensor([*_TAPS, *_TAPS[-2::-1]], dtype=torch.float32)
    padded = F.pad(images, (_REACH,) * 4, mode="reflect")
    summed = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return ((summed + 2**15) / 2**16).floor()
