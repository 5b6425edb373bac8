"""Preparing the training data: drawings of the teacher's faces."""

from pathlib import Path

import numpy as np

from faceloom.training.runs import write_atomically
from faceloom.training.segmentation.face_mesh import Measurements


def draw_targets(faces: Path, mesh: Path, labels: Path, out: Path, count: int = 4000) -> None:
    """Drawings of the first `count` labelled faces into a .npz (`index`, `drawings` [K,256,256],
    255 paper); 0.1 s each."""
    from faceloom.training.sketch.line_art import draw  # needs scipy, which training does not

    pictures, measured = np.load(faces), Measurements.load(mesh)
    with np.load(labels) as data:
        index, painted = data["index"][:count], data["labels"][:count]
    drawings = np.stack(
        [
            draw(pictures[i], measured.landmarks[i], layout)
            for i, layout in zip(index, painted, strict=True)
        ]
    )

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, index=index, drawings=drawings)

    write_atomically(out, write)
