"""NVlabs' conventions at both ends of a StyleGAN2: how a seed becomes z, and an image becomes bytes."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vector: TypeAlias = npt.NDArray[np.float32]


def z_of(seed: int, length: int) -> Vector:
    """The z of a seed, [length], as NVlabs' generate script draws it.

    numpy's RandomState takes 32-bit seeds; larger ones are given as two words, low word first.
    """
    words = seed if seed < 2**32 else [seed & 0xFFFFFFFF, seed >> 32]
    return np.random.RandomState(words).randn(length).astype(np.float32)


def to_pixels(images: Tensor) -> npt.NDArray[np.uint8]:
    """Images [N, 3, S, S], nominal range [-1, 1] -> uint8 [N, S, S, 3]; half way values go down."""
    quantised = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return quantised.permute(0, 2, 3, 1).contiguous().cpu().numpy()
