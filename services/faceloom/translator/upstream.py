"""Pictures as pixel2style2pixel's own scripts show them to its encoders (`configs/transforms_config.py` and
`datasets/augmentations.py` of https://github.com/eladrich/pixel2style2pixel), for networks that learned so.

Whatever their shape, they become squares, by Pillow's bilinear filter on whole numbers.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from faceloom.checkpoints.import_result import BISENET
from faceloom.core.arrays import Pixels
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import BISENET_TO_CELEBA, CELEBA_TO_BISENET, check_labels


def sketch_tensor(pixels: Pixels, side: int) -> Tensor:
    """A drawing, uint8 [H, W] -> float32 [1, side, side] in [0, 1]."""
    return torch.from_numpy(_squashed(pixels, side))[None] / 255


def layout_tensor(labels: Pixels, side: int, order: str) -> Tensor:
    """Ids in CelebAMask-HQ's order, uint8 [H, W] -> one-hot float32 [19, side, side] in the same.

    Upstream takes means of ids, as if they were grey levels: along the edge of two classes there is a line of
    others. The encoders learned from such layouts. At H = W = side nothing is changed.

    Args:
        labels: The ids.
        side: Of the encoder's pictures.
        order: In which they were numbered when means were taken: CELEBAMASK_HQ or BISENET.

    Raises:
        ValueError: An id is not 0 to 18.
    """
    ids = check_labels(labels)
    if order == BISENET:
        ids = BISENET_TO_CELEBA[_squashed(CELEBA_TO_BISENET[ids], side)]
    else:
        ids = _squashed(ids, side)
    return torch.from_numpy((ids == np.arange(len(CLASS_NAMES))[:, None, None]).astype(np.float32))


def face_tensor(pixels: Pixels, side: int, factor: int | None) -> Tensor:
    """A face, uint8 [H, W, 3] -> float32 [3, side, side] in [-1, 1].

    Args:
        pixels: The face.
        side: Of the encoder's pictures.
        factor: By how much it is made smaller before, as super-resolution encoders learned it; or None.
    """
    squashed = _squashed(pixels, side)
    if factor is not None:
        squashed = _squashed(_smaller(squashed, factor), side)
    return (torch.from_numpy(squashed).permute(2, 0, 1) / 255 - 0.5) / 0.5


def _squashed(pixels: Pixels, side: int) -> Pixels:
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def _smaller(pixels: Pixels, factor: int) -> Pixels:
    """uint8 [S, S, 3] -> [S / factor, S / factor, 3] by a cubic filter (Keys 1981) that is `factor` times as
    wide, edges reflected, and cut off to whole numbers."""
    x = ((torch.arange(4 * factor) + 0.5) / factor - 2).abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    taps = torch.where(x <= 1, near, far)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    before = 3 * factor // 2
    after = 3 * factor - before
    colours = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    tall = F.pad(colours, (0, 0, before, after), mode="reflect")
    colours = F.conv2d(tall, taps.transpose(2, 3), stride=(factor, 1), groups=3)
    wide = F.pad(colours, (before, after, 0, 0), mode="reflect")
    colours = F.conv2d(wide, taps, stride=(1, factor), groups=3)
    smaller: Pixels = (colours[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    return smaller
