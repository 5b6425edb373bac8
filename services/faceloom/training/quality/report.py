"""How good the filter is, on labels it has not seen: precision, recall, AUC and calibration, in numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
BINS = 10


def auc(scores: Doubles, keep: Bools) -> float:
    """Area under the ROC curve: how often a kept face outscores a rejected one, ties half."""
    good, bad = scores[keep], scores[~keep]
    if not len(good) or not len(bad):
        return float("nan")
    order = good[:, None] - bad[None, :]
    return float((order > 0).mean() + 0.5 * (order == 0).mean())


@dataclass(frozen=True)
class Operating:
    """What a threshold does: faces scoring at least it are accepted."""

    threshold: float
    precision: float
    recall: float
    accepted_share: float


def operating_point(scores: Doubles, keep: Bools, threshold: float) -> Operating:
    accepted = scores >= threshold
    hits = int((accepted & keep).sum())
    return Operating(
        threshold=threshold,
        precision=hits / max(int(accepted.sum()), 1),
        recall=hits / max(int(keep.sum()), 1),
        accepted_share=float(accepted.mean()),
    )


def choose_threshold(
    scores: Doubles, keep: Bools, precision: float, least_recall: float = 0.1
) -> Operating:
    """The lowest threshold from which on precision holds: there and at every higher one with at
    least `least_recall`. A dip further up would mean that the lower one was luck. If none holds,
    the most precise point with that recall."""
    points = [operating_point(scores, keep, float(t)) for t in np.unique(scores)[::-1]]
    points = [point for point in points if point.recall >= least_recall]
    best = None
    for point in points:
        if point.precision < precision:
            break
        best = point
    return best or max(points, key=lambda point: point.precision)


def calibration_bins(scores: Doubles, keep: Bools) -> list[dict[str, float]]:
    """Mean score and share of kept faces in each tenth of the score range that occurs."""
    index = np.minimum((scores * BINS).astype(int), BINS - 1)
    return [
        {
            "mean_score": round(float(scores[index == b].mean()), 4),
            "kept_share": round(float(keep[index == b].mean()), 4),
            "count": int((index == b).sum()),
        }
        for b in range(BINS)
        if (index == b).any()
    ]


def expected_calibration_error(bins: list[dict[str, float]]) -> float:
    total = sum(b["count"] for b in bins)
    return sum(b["count"] * abs(b["mean_score"] - b["kept_share"]) for b in bins) / total
