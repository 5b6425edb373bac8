"""Preparing the training data: teacher faces, and the pseudo-labels painted over them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from faceloom.training.generator.teacher import Z_DIM, load_teacher
from faceloom.training.runs import write_atomically
from faceloom.training.segmentation.face_mesh import Measurements


def sample_faces(teacher: Path, out: Path, count: int = 8000) -> None:
    """Draw `count` teacher faces into a .npy of uint8 RGB [count,64,64,3].

    Face i comes from a z of its own seed i, so a longer file starts with a shorter one's faces.
    Hundreds alternate between full and 0.85 times the spread: varied ones and clean ones.
    """
    network = load_teacher(teacher)
    faces = np.empty((count, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        for start in range(0, count, 100):
            seeds = range(start, min(start + 100, count))
            z = torch.stack(
                [torch.randn(Z_DIM, generator=torch.Generator().manual_seed(s)) for s in seeds]
            )
            images = network(z * (1.0 if start // 100 % 2 == 0 else 0.85))
            pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte()
            faces[start : seeds.stop] = pixels.permute(0, 2, 3, 1).numpy()

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, faces)

    write_atomically(out, write)


def usable(faces: NDArray[np.uint8], mesh: Measurements) -> NDArray[np.int64]:
    """Indices of the faces fit for training: found with confidence, not dark, not in profile."""
    points = mesh.landmarks[..., :2]
    width = np.linalg.norm(points[:, 234] - points[:, 454], axis=1)
    height = np.linalg.norm(points[:, 10] - points[:, 152], axis=1)
    found = np.isfinite(width) & (mesh.score > 0.6)
    frontal = width > 0.55 * np.where(found, height, np.inf)
    return np.flatnonzero(found & frontal & (faces.mean((1, 2, 3)) > 40))


def paint_labels(faces: Path, mesh: Path, out: Path) -> None:
    """Pseudo-labels of all usable faces into a .npz (`index`, `labels` [K,256,256]); 40 ms each."""
    from faceloom.training.segmentation.mesh_labels import (
        paint,  # needs scipy, which training does not
    )

    pictures, measured = np.load(faces), Measurements.load(mesh)
    index = usable(pictures, measured)
    painted = np.stack(
        [paint(pictures[i], measured.landmarks[i], measured.person[i]) for i in index]
    )

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, index=index, labels=painted)

    write_atomically(out, write)
