"""How a picture is brought to the size that a classifier looks at."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

from faceloom.core.arrays import Pixels

INTERPOLATIONS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Fit:
    """uint8 [H, W, 3] -> [side, side, 3].

    Args:
        side: What the network looks at, in pixels.
        crop_pct: The middle of the picture that is looked at, as a share of its shorter side, as timm does
            it in evaluation. Without it the whole picture is, at whatever aspect: a face fills it.
        interpolation: One of `INTERPOLATIONS`.
    """

    side: int
    crop_pct: float | None = None
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Fit":
        """As a model's options say."""
        return cls(**{name: options[name] for name in cls.__dataclass_fields__ if name in options})

    def __call__(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        box = None if self.crop_pct is None else self._middle(width, height, self.crop_pct)
        if box is None and width == height == self.side:
            return pixels
        size = (self.side, self.side)
        picture = Image.fromarray(pixels)
        return np.asarray(picture.resize(size, INTERPOLATIONS[self.interpolation], box))

    def _middle(
        self, width: int, height: int, crop_pct: float
    ) -> tuple[float, float, float, float]:
        """The part of the picture that is left if it is scaled first and then cropped, as timm does; a long
        picture that is scaled as a whole would take too much memory."""
        short = math.floor(self.side / crop_pct)
        scaled = [int(short * length / min(width, height)) for length in (width, height)]
        begins = [round((length - self.side) / 2) for length in scaled]
        ends = [begin + self.side for begin in begins]
        left, right = (place * width / scaled[0] for place in (begins[0], ends[0]))
        top, bottom = (place * height / scaled[1] for place in (begins[1], ends[1]))
        return left, top, right, bottom
