"""The classical extractor offered beside the learned one: XDoG on luminance (Winnemöller, Kyprianidis
& Olsen, "XDoG: An eXtended Difference-of-Gaussians compendium", Computers & Graphics 2012).

Numpy alone: the separable Gaussians are short enough that plain shifted sums are fast.
"""

import math

import numpy as np
from numpy.typing import NDArray

from faceloom.core.arrays import Floats


def gaussian_blur(image: Floats, sigma: float) -> Floats:
    """Separable Gaussian over both axes of [H,W], edges repeated, cut off at three sigma."""
    radius = math.ceil(3 * sigma)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (radius, radius)
        padded = np.pad(image, pads, mode="edge")
        length = image.shape[axis]
        image = sum(
            (
                weight * padded.take(range(start, start + length), axis)
                for start, weight in enumerate(kernel)
            ),
            start=np.zeros_like(image),
        )
    return image


def drawing(
    rgb: NDArray[np.uint8],
    sigma: float | None = None,
    sharpness: float = 14.0,
    threshold: float = 0.5,
    slope: float = 4.0,
) -> Floats:
    """[H,W,3] RGB -> [H,W] drawing in [0,1], in which 1 is paper.

    `sigma` is the finer Gaussian in pixels, by default 1/170 of the shorter side and at least 0.8;
    `sharpness` is the paper's p, `threshold` its epsilon and `slope` its phi. The light is evened
    out first, so that a dark picture does not turn into one black blot.
    """
    height, width = rgb.shape[:2]
    side = min(height, width)
    sigma = max(0.8, side / 170) if sigma is None else sigma
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    light = np.asarray(rgb.astype(np.float32) @ weights / 255, np.float32)
    even = 0.85 * light / (gaussian_blur(light, max(1.0, side / 12)) + 0.08)
    grey = even.astype(np.float32)
    fine, coarse = gaussian_blur(grey, sigma), gaussian_blur(grey, 1.6 * sigma)
    response = (1 + sharpness) * fine - sharpness * coarse
    lines = np.where(response >= threshold, 1, 1 + np.tanh(slope * (response - threshold)))
    return np.asarray(lines.clip(0, 1))


def xdog(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W,3] RGB -> [H,W] drawing, dark lines on 255."""
    return np.asarray(drawing(rgb) * 255 + 0.5, np.uint8)
