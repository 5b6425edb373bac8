"""The pictures of a quality model's card."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from faceloom.training.runs import contact_sheet, write_atomically


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


def write_card_pictures(
    faces: Tensor, scores: NDArray[np.float64], bins: list[dict[str, float]], folder: Path
) -> None:
    """Reliability diagram, and held-out faces from the highest score to the lowest."""
    folder.mkdir(parents=True, exist_ok=True)
    diagram = reliability_diagram(bins)
    write_atomically(folder / "calibration.png", lambda path: diagram.save(path, "PNG"))
    count = min(len(scores), 96)
    ranked = np.argsort(-scores)[np.linspace(0, len(scores) - 1, count).astype(int)]
    sheet = contact_sheet([faces[i].permute(1, 2, 0).numpy() for i in ranked], columns=12)
    write_atomically(folder / "ranked.png", lambda path: sheet.save(path, "PNG", optimize=True))
