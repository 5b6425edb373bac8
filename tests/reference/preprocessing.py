"""What upstream projects' own scripts do with a picture before their networks see it, written out with the
calls that they make: Pillow's, and torchvision's in words."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(picture: Image.Image) -> Tensor:
    """torchvision's ToTensor: [C, H, W] in [0, 1]."""
    values = np.asarray(picture)
    return torch.from_numpy(np.atleast_3d(values).transpose(2, 0, 1).astype(np.float32)).div(255)


def face_parsing(pixels: Pixels) -> Tensor:
    """zllrunning/face-parsing.PyTorch, `test.py`: [H, W, 3] -> [3, 512, 512]."""
    image = to_tensor(Image.fromarray(pixels).resize((512, 512), Image.Resampling.BILINEAR))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def psp_sketch(pixels: Pixels, side: int) -> Tensor:
    """pixel2style2pixel, SketchToImageTransforms: [H, W] -> [1, side, side]."""
    return to_tensor(Image.fromarray(pixels, "L").resize((side, side), Image.Resampling.BILINEAR))


def psp_layout(ids: Pixels, side: int) -> Tensor:
    """SegToImageTransforms and ToOneHot: ids in the order of the network, [H, W] -> [19, side, side]."""
    mixed = np.asarray(Image.fromarray(ids).resize((side, side), Image.Resampling.BILINEAR))
    return torch.from_numpy(np.eye(19, dtype=np.float32)[mixed]).permute(2, 0, 1)


def psp_face(pixels: Pixels, side: int, factor: int | None = None) -> Tensor:
    """EncodeTransforms, or SuperResTransforms with that factor: [H, W, 3] -> [3, side, side]."""
    picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    if factor is not None:
        small = Image.fromarray(bicubic_down_sample(np.asarray(picture), factor))
        picture = small.resize((side, side), Image.Resampling.BILINEAR)
    return (to_tensor(picture) - 0.5) / 0.5


def bicubic_down_sample(pixels: Pixels, factor: int) -> Pixels:
    """BicubicDownSample and ToPILImage: [S, S, 3] -> [S / factor, S / factor, 3]."""

    def cubic(x: float, a: float = -0.5) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    size = 4 * factor
    kernel = torch.tensor([cubic((i - size // 2 + 0.5) / factor) for i in range(size)])
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    before = (size - factor) // 2
    after = size - factor - before
    # In float32 and in this order, because what lies a hair below a whole number is cut off.
    x = to_tensor(Image.fromarray(pixels))[None]
    x = F.pad(x, (0, 0, before, after), mode="reflect")
    x = F.conv2d(x, kernel.transpose(2, 3), stride=(factor, 1), groups=3)
    x = F.pad(x, (before, after, 0, 0), mode="reflect")
    x = F.conv2d(x, kernel, stride=(1, factor), groups=3)
    return x[0].clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
