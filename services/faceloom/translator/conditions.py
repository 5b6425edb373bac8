"""Pictures as the encoders see them, the same in training and in serving.

Pictures need not be square: drawings and layouts are centred on a square of paper or background, so that
what was drawn keeps its shape; of a face, the middle square is taken.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.core.arrays import Pixels
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import check_labels

_PAPER: Final = 255
_BACKGROUND: Final = CLASS_NAMES.index("background")


def sketch_tensor(pixels: Pixels, side: int) -> Tensor:
    """A drawing, uint8 [H, W], dark lines on white -> float32 [1, side, side] in [0, 1], white is 1."""
    return _resized(torch.from_numpy(_centred(pixels, _PAPER))[None], side) / 255


def layout_tensor(labels: Pixels, side: int) -> Tensor:
    """Ids in CelebAMask-HQ's order, uint8 [H, W] -> one-hot float32 [19, side, side].

    Ids are names and have no mean, so every pixel takes the id that lies nearest to its centre.

    Raises:
        ValueError: An id is not 0 to 18.
    """
    square = _centred(check_labels(labels), _BACKGROUND)
    nearest = ((np.arange(side) + 0.5) * len(square) / side).astype(int)
    ids = square[np.ix_(nearest, nearest)]
    return torch.from_numpy((ids == np.arange(len(CLASS_NAMES))[:, None, None]).astype(np.float32))


def face_tensor(pixels: Pixels, side: int) -> Tensor:
    """A face, uint8 [H, W, 3] -> float32 [3, side, side] in [-1, 1]."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = pixels[top : top + short, left : left + short].transpose(2, 0, 1)
    return _resized(torch.from_numpy(square.copy()), side) / 127.5 - 1


def _centred(pixels: Pixels, margin: int) -> Pixels:
    """[H, W] -> a new [S, S], S the longer side, filled up with the margin's value."""
    height, width = pixels.shape
    long = max(height, width)
    square = np.full((long, long), margin, np.uint8)
    top, left = (long - height) // 2, (long - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _resized(channels: Tensor, side: int) -> Tensor:
    """uint8 [C, S, S] -> float32 [C, side, side], antialiased, 0 to 255."""
    resized = F.interpolate(
        channels[None].float(), (side, side), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 255)
