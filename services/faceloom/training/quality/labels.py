"""The label file: what people said about generated faces.

JSON lines: a header with `generator` (digest of the model whose faces were looked at), then one
object per face with `seed`, `psi`, `label` (keep | reject) and `split` (train | heldout), and, if
they apply, `share` (of several labellers who kept it; `label` is their majority) and `drawn`
(random, or scored: looked at because an earlier filter gave it a high score).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """Faces uint8 [N,3,H,W], whether people kept them, the share that did, whether they are held out,
    whether they were drawn at random."""

    faces: Tensor
    keep: NDArray[np.bool_]
    share: NDArray[np.float64]
    held_out: NDArray[np.bool_]
    random: NDArray[np.bool_]
    generator: str

    @staticmethod
    def load(labels: Path, faces: Path) -> "Labelled":
        """Rows of the label file and images of the .npy (uint8 RGB [N,H,W,3]) correspond in order.

        Raises:
            ValueError: The counts differ, a label or split is unknown, or a part lacks a class.
        """
        lines = [json.loads(line) for line in labels.read_text().splitlines() if line.strip()]
        header, rows = lines[0], lines[1:]
        images = np.load(faces)
        if len(images) != len(rows):
            raise ValueError(f"{labels} has {len(rows)} rows, {faces} {len(images)} faces")
        for row in rows:
            if row["label"] not in ("keep", "reject") or row["split"] not in ("train", "heldout"):
                raise ValueError(f"{labels}: not a label and split: {row}")
        keep = np.array([row["label"] == "keep" for row in rows])
        held_out = np.array([row["split"] == "heldout" for row in rows])
        random = np.array([row.get("drawn", "random") == "random" for row in rows])
        share = np.array([float(row.get("share", row["label"] == "keep")) for row in rows])
        if (held_out & ~random).any():
            raise ValueError(f"{labels}: held-out faces have to be drawn at random")
        for part in (keep[held_out], keep[~held_out & random]):
            if not part.any() or part.all():
                raise ValueError(f"{labels}: both splits need kept and rejected faces")
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        return Labelled(pixels, keep, share, held_out, random, header["generator"])
