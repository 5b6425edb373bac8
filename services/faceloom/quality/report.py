"""How good the filter is, on labels it has not seen: precision, recall, AUC and calibration, in numpy,
and the reliability diagram, in Pillow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
BINS = 10


def auc(scores: Floats, keep: Bools) -> float:
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


def operating_point(scores: Floats, keep: Bools, threshold: float) -> Operating:
    accepted = scores >= threshold
    hits = int((accepted & keep).sum())
    return Operating(
        threshold=threshold,
        precision=hits / max(int(accepted.sum()), 1),
        recall=hits / max(int(keep.sum()), 1),
        accepted_share=float(accepted.mean()),
    )


def choose_threshold(
    scores: Floats, keep: Bools, precision: float, least_recall: float = 0.1
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


def calibration_bins(scores: Floats, keep: Bools) -> list[dict[str, float]]:
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


def reliability_diagram(bins: list[dict[str, float]], side: int = 420) -> Image.Image:
    """Kept share against mean score; a calibrated filter lies on the diagonal. Bars below show how
    many faces each bin holds."""
    margin, base = 46, 60
    image = Image.new("RGB", (side + margin + 14, side + margin + base + 14), "white")
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return margin + x * side, 14 + (1 - y) * side

    for tenth in range(0, 11, 2):
        value = tenth / 10
        draw.line([at(value, 0), at(value, 1)], fill=(232, 232, 232))
        draw.line([at(0, value), at(1, value)], fill=(232, 232, 232))
        x, y = at(value, 0)
        draw.text((x, y + 6), f"{value:.1f}", fill="black", anchor="mt")
        x, y = at(0, value)
        draw.text((x - 6, y), f"{value:.1f}", fill="black", anchor="rm")
    draw.rectangle([at(0, 1), at(1, 0)], outline="black")
    draw.line([at(0, 0), at(1, 1)], fill=(150, 150, 150), width=2)
    points = [at(b["mean_score"], b["kept_share"]) for b in bins]
    draw.line(points, fill=(31, 119, 180), width=3)
    most = max(b["count"] for b in bins)
    floor = image.height - 4
    for (x, y), b in zip(points, bins, strict=True):
        draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=(31, 119, 180))
        draw.rectangle(
            [x - 9, floor - (base - 24) * b["count"] / most, x + 9, floor], fill="silver"
        )
    draw.text((margin + side / 2, 14 + side + 22), "mean score", fill="black", anchor="mt")
    draw.text((margin + 8, 22), "share kept by a person", fill="black")
    return image
