"""Finished datasets beneath a folder, as pages look at them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from faceloom.core.errors import NotFound
from faceloom.datasets.layout import DATASET, METADATA, RECIPE, REJECTED
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.summary import Summary, read_summary

# A dataset lies in the folder itself, in a folder of it, or one deeper.
_PLACES = (DATASET, f"*/{DATASET}", f"*/*/{DATASET}")
# What pages ask for, and where metadata.jsonl says which file it is.
PICTURES = {"face": "file_name", "sketch": "sketch_file_name", "layout": "layout_file_name"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A finished dataset, read once.

    Args:
        name: What pages call it: its path beneath the studio's folder.
        folder: Where it is.
        summary: Its dataset.json.
        recipe: What it was made by.
    """

    name: str
    folder: Path
    summary: Summary
    recipe: Recipe

    @cached_property
    def accepted(self) -> Mapping[str, Row]:
        """Lines of metadata.jsonl by id, in order."""
        return _rows(self.folder / METADATA)

    @cached_property
    def rejected(self) -> Mapping[str, Row]:
        """Lines of rejected.jsonl by id, in order."""
        return _rows(self.folder / REJECTED)

    @cached_property
    def shuffled(self) -> tuple[str, ...]:
        """The ids of all judged candidates in an order that has nothing to do with their scores, the same for
        everybody: whoever labels only the first ones labels a fair sample."""
        ids = [*self.accepted, *self.rejected]
        return tuple(sorted(ids, key=lambda one: hashlib.sha256(one.encode()).digest()))

    def picture(self, identity: str, kind: str) -> Path:
        """A picture's file.

        Raises:
            NotFound: There is no such face, or no such picture of one.
        """
        if identity not in self.accepted or kind not in PICTURES:
            raise NotFound(f"{self.name} has no {kind} of {identity!r}")
        path = self.folder / str(self.accepted[identity][PICTURES[kind]])
        # Datasets come from elsewhere, too.
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise NotFound(f"{self.name}: the {kind} of {identity} lies outside of the dataset")
        return path


class Datasets:
    """The finished datasets beneath a folder. One that is made again is read again.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._read: dict[Path, Dataset] = {}

    def all(self) -> list[Dataset]:
        """All that are finished, the newest first; reads files."""
        found = {path for place in _PLACES for path in self.root.glob(place)}
        times = {path: path.stat().st_mtime_ns for path in found if path.is_file()}
        read = (self._dataset(path) for path in sorted(times, key=lambda one: -times[one]))
        return [dataset for dataset in read if dataset is not None]

    def get(self, name: str) -> Dataset:
        """The dataset of that name; reads files.

        Raises:
            NotFound: There is none.
        """
        for dataset in self.all():
            if dataset.name == name:
                return dataset
        raise NotFound(f"there is no finished dataset {name!r} in {self.root}")

    def _dataset(self, path: Path) -> Dataset | None:
        folder = path.parent
        try:
            summary = read_summary(folder)
            known = self._read.get(folder)
            if known is not None and summary == known.summary:
                return known
            recipe = Recipe.from_json(json.loads((folder / RECIPE).read_text()))
        except (OSError, ValueError, KeyError):
            # Being made again at this moment, or not Faceloom's.
            return None
        if summary is None:
            return None
        name = folder.name if folder == self.root else folder.relative_to(self.root).as_posix()
        self._read[folder] = Dataset(name, folder, summary, recipe)
        return self._read[folder]


def _rows(file: Path) -> Mapping[str, Row]:
    rows = (json.loads(line) for line in file.read_text().splitlines())
    return {row["id"]: row for row in rows}
