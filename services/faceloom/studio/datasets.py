"""Finished datasets beneath a folder, as pages look at them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from faceloom import datasets
from faceloom.core.errors import NotFound, UsageError
from faceloom.datasets.layout import DATASET
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.records import FaceRecord, RejectedRecord
from faceloom.datasets.summary import Summary

# A dataset lies in the folder itself, in a folder of it, or one deeper.
_PLACES = (DATASET, f"*/{DATASET}", f"*/*/{DATASET}")


@dataclass(frozen=True)
class ShownDataset:
    """A finished dataset as pages look at it, its lists read once.

    Args:
        name: What pages call it: its path beneath the studio's folder.
        dataset: What reads it.
    """

    name: str
    dataset: datasets.Dataset

    @property
    def summary(self) -> Summary:
        """Its dataset.json."""
        return self.dataset.summary

    @property
    def recipe(self) -> Recipe:
        """What it was made by."""
        return self.dataset.recipe

    @cached_property
    def accepted(self) -> Mapping[str, FaceRecord]:
        """Its faces by id, in order."""
        return {face.id: face for face in self.dataset.faces()}

    @cached_property
    def rejected(self) -> Mapping[str, RejectedRecord]:
        """Its rejected candidates by id, in order."""
        return {record.id: record for record in self.dataset.rejected()}

    @cached_property
    def shuffled(self) -> tuple[str, ...]:
        """The ids of all judged candidates in an order that has nothing to do with their scores, the same for
        everybody: whoever labels only the first ones labels a fair sample."""
        ids = [*self.accepted, *self.rejected]
        return tuple(sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest()))

    def picture(self, identity: str, kind: str) -> bytes:
        """A PNG file.

        Args:
            identity: Of the face.
            kind: `face`, or how the columns of the picture begin: `sketch`, `layout`.

        Raises:
            NotFound: There is no such face, or no such picture of one.
            DamagedDataset: It is not the file that was written.
        """
        beginning = "" if kind == "face" else f"{kind}_"
        if face := self.accepted.get(identity):
            for folder, path in face.files.items():
                if face.columns[folder] == beginning and path.endswith(".png"):
                    return self.dataset.picture(face, folder)
        raise NotFound(f"{self.name} has no {kind} of {identity!r}")


class Datasets:
    """The finished datasets beneath a folder. One that is made again is read again.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._read: dict[Path, ShownDataset] = {}

    def all(self) -> list[ShownDataset]:
        """All that are finished, the newest first; reads files."""
        found = {path for place in _PLACES for path in self.root.glob(place)}
        times = {path: path.stat().st_mtime_ns for path in found if path.is_file()}
        read = (self._dataset(path) for path in sorted(times, key=lambda one: -times[one]))
        return [dataset for dataset in read if dataset is not None]

    def get(self, name: str) -> ShownDataset:
        """The dataset of that name; reads files.

        Raises:
            NotFound: There is none.
        """
        for dataset in self.all():
            if dataset.name == name:
                return dataset
        raise NotFound(f"there is no finished dataset {name!r} in {self.root}")

    def _dataset(self, path: Path) -> ShownDataset | None:
        folder = path.parent
        try:
            dataset = datasets.open(folder)
            known = self._read.get(folder)
            if known is not None and dataset.summary == known.summary:
                return known
            _ = dataset.recipe
        except (UsageError, datasets.DamagedDataset):
            # Being made again at this moment, or not Faceloom's.
            return None
        name = folder.name if folder == self.root else folder.relative_to(self.root).as_posix()
        self._read[folder] = ShownDataset(name, dataset)
        return self._read[folder]
