"""What people chose in a dataset: label file and dataset to faces with answers.

A label file is JSON lines, one object per face: `id` (as in metadata.jsonl or rejected.jsonl) and `label`
(keep | reject); other fields are left alone. Rejected candidates have no picture in the dataset, so the
generator makes them again from their seeds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloom import datasets
from faceloom.core.errors import UsageError
from faceloom.datasets.label_file import read_labels
from faceloom.datasets.recipe import Recipe
from faceloom.store.model import open_model
from faceloom.training.quality.render import make_faces

PARTS = ("train", "tune", "held_out")
# Out of ten faces: six to learn from, two to calibrate and choose by, two to judge the result by.
_PARTS_OF_TEN = ("train",) * 6 + ("tune",) * 2 + ("held_out",) * 2
# Fewer of one kind in one part, and its figures mean nothing.
_LEAST = 5


@dataclass(frozen=True)
class Choices:
    """Labelled faces uint8 [N,3,H,W], whether each is to be kept, and which part it belongs to."""

    faces: Tensor
    keep: NDArray[np.bool_]
    part: NDArray[np.str_]

    def of(self, part: str) -> tuple[Tensor, NDArray[np.bool_]]:
        """The faces and answers of one part."""
        rows = np.flatnonzero(self.part == part)
        return self.faces[torch.from_numpy(rows)], self.keep[rows]


def read_choices(labels: Path, dataset: Path, generator: Path) -> Choices:
    """The labelled faces of a finished dataset.

    Args:
        labels: The label file.
        dataset: A folder that `faceloom build` finished.
        generator: The model folder that made it, for rejected candidates.

    Raises:
        UsageError: A line is not a label, names a face that is not in the dataset, or there are too few.
    """
    wanted = read_labels(labels)
    opened = datasets.open(dataset)
    accepted = {face.id: face for face in opened.faces() if face.id in wanted}
    rejected = {record.id: record for record in opened.rejected() if record.id in wanted}
    for identity in wanted:
        if identity not in accepted and identity not in rejected:
            raise UsageError(f"{labels}: {dataset} has no face with the id {identity!r}")
    part = np.array([part_of(identity) for identity in wanted])
    keep = np.array([label == "keep" for label in wanted.values()])
    _check_counts(labels, keep, part)
    pictures = {identity: opened.pixels(face) for identity, face in accepted.items()}
    missing = [identity for identity in wanted if identity not in pictures]
    seeds = [rejected[identity].seed for identity in missing]
    pictures |= zip(missing, _make_again(opened.recipe, generator, seeds), strict=True)
    faces = np.stack([pictures[identity] for identity in wanted])
    return Choices(torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous(), keep, part)


def part_of(identity: str) -> str:
    """The part a face belongs to, by its id alone, so that it never changes as labels are added."""
    return _PARTS_OF_TEN[int(hashlib.sha256(identity.encode()).hexdigest(), 16) % 10]


def _check_counts(labels: Path, keep: NDArray[np.bool_], part: NDArray[np.str_]) -> None:
    for name in PARTS:
        kept = int(keep[part == name].sum())
        rest = int((part == name).sum()) - kept
        if min(kept, rest) < _LEAST:
            raise UsageError(
                f"{labels}: its {name} part has {kept} keep and {rest} reject;"
                f" label more until every part has {_LEAST} of both"
            )


def _make_again(
    recipe: Recipe, generator: Path, seeds: Sequence[int]
) -> Sequence[NDArray[np.uint8]]:
    if not seeds:
        return []
    digest = open_model(generator).weights.sha256
    if digest != recipe.models["generator"].digest:
        raise UsageError(
            f"the dataset was made by generator {recipe.models['generator'].digest[:12]},"
            f" {generator} is {digest[:12]}; label accepted faces only, or give that generator"
        )
    return list(make_faces(generator, seeds, [recipe.spec.truncation_psi] * len(seeds)))
