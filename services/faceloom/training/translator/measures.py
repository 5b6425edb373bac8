"""What an evaluation of translators measures, each with its range and the direction that is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.core.arrays import Pixels
from faceloom.training.translator.losses import feature_distance

# As far from a line as ink may lie and still be on it.
RADIUS: Final = 2
# Darker than that is ink.
_INK: Final = 128


@dataclass(frozen=True)
class Measure:
    """How a number is presented.

    Args:
        title: At the head of its column.
        better: 1 when higher is better, -1 when lower is.
        digits: After the point.
    """

    title: str
    better: int
    digits: int


# The perceptual distance, 0 to 4, is `losses.feature_distance`; the Fréchet distance, from 0 on, is
# `generator.frechet`'s. The others are below.
MEASURES: Final = {
    "perceptual_distance": Measure("perceptual", -1, 4),
    "psnr_db": Measure("PSNR dB", 1, 2),
    "line_precision_2px": Measure("line P", 1, 3),
    "line_recall_2px": Measure("line R", 1, 3),
    "line_f1_2px": Measure("line F1", 1, 3),
    "layout_mean_iou": Measure("mIoU", 1, 3),
    "diversity": Measure("diversity", 1, 4),
    "frechet_distance": Measure("Fréchet", -1, 2),
}


def diversity(features: Sequence[Tensor]) -> float:
    """How different the variants of one picture look; 0 (all the same) to 4, higher is more varied.

    Args:
        features: Layers of the variants' features, each [V, C, H, W], at least two variants.

    Returns:
        Mean perceptual distance of all pairs.
    """
    count = len(features[0])
    first, second = torch.triu_indices(count, count, offset=1)
    pairs = [layer[first] for layer in features], [layer[second] for layer in features]
    return float(feature_distance(*pairs).mean())


def psnr(picture: Pixels, truth: Pixels) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures in dB; 0 to infinity (the same), higher is closer."""
    error = np.square(picture.astype(np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


@dataclass(frozen=True)
class LineMatch:
    """How well the lines of two drawings lie on each other; all three 0 to 1, higher is better."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def line_match(drawn: Pixels, wanted: Pixels, radius: int = RADIUS) -> LineMatch:
    """The shares of drawn ink near wanted ink (precision) and of wanted ink near drawn ink (recall).

    Args:
        drawn: uint8 [H, W], dark lines on white.
        wanted: The drawing to compare with, of the same size.
        radius: Near is at most that many pixels away in both directions.

    Returns:
        All 1 for two empty sheets, all 0 when only one is empty.
    """
    ink, target = (torch.from_numpy(sheet < _INK).float()[None] for sheet in (drawn, wanted))
    if not ink.any() and not target.any():
        return LineMatch(1.0, 1.0)
    near_ink, near_target = (
        F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius) for mask in (ink, target)
    )
    return LineMatch(
        precision=float((ink * near_target).sum() / ink.sum().clamp(min=1)),
        recall=float((target * near_ink).sum() / target.sum().clamp(min=1)),
    )


def layout_iou(found: Pixels, wanted: Pixels) -> float:
    """Mean intersection over union of the classes in the wanted layout; 0 to 1, higher is better.

    Args:
        found: Class ids, uint8 [H, W].
        wanted: The layout to compare with, of the same size.
    """
    ious = []
    for label in np.unique(wanted):
        here, there = found == label, wanted == label
        ious.append((here & there).sum() / (here | there).sum())
    return float(np.mean(ious))
