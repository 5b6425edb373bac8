"""A finished dataset, read: the one way for everybody who looks into it.

It reads what any version of Faceloom wrote, from a folder or an object store, and takes nobody's word for it:
a file that is no regular file below the dataset, is too large, or says something of another type is one line
that names it. Whether all files are as they were written is for `faceloom verify` to say.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar

from faceloom.core.errors import FaceloomError, NotFound, UsageError
from faceloom.core.wording import unreadable
from faceloom.datasets.files import Files, Read, read_at_most
from faceloom.datasets.folder_files import FolderFiles
from faceloom.datasets.layout import (
    DATASET,
    FAILED,
    LABELS,
    LATENTS,
    METADATA,
    PROVENANCE,
    RECIPE,
    REJECTED,
    SHARDS,
)
from faceloom.datasets.place import ObjectUrl, Output, output_of
from faceloom.datasets.provenance import Provenance
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.records import FaceRecord, FailedRecord, RejectedRecord
from faceloom.datasets.summary import Summary, summary_in

# Elsewhere only where they are needed: most readers want no pixels.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from faceloom.datasets.latent_arrays import Latents

_MAX_DOCUMENT = 2**20
_MAX_LINE = 2**20

T = TypeVar("T")


class DamagedDataset(FaceloomError):
    """A dataset is not what a build wrote."""


@dataclass(frozen=True)
class LayoutClass:
    """What a value of the layouts means."""

    id: int
    name: str
    color: tuple[int, int, int]


def open(place: str | Output) -> "Dataset":
    """The finished dataset in a folder, or at `s3://bucket/prefix`.

    Raises:
        UsageError: There is none.
        DamagedDataset: dataset.json is not what a build writes.
    """
    where = output_of(place) if isinstance(place, str) and "://" in place else place
    files: Files
    if isinstance(where, ObjectUrl):
        # Not at the top: folders are read without the client of stores.
        from faceloom.datasets.bucket_files import BucketFiles

        files = BucketFiles(where)
    else:
        where = Path(where)
        files = FolderFiles(where)
    dataset = Dataset(where, files)
    _ = dataset.summary
    return dataset


class Dataset:
    """See `open`. Whatever reads files raises `DamagedDataset` where they are not as they should be.

    Args:
        place: Where it is.
        files: What is there.
    """

    def __init__(self, place: Output, files: Files) -> None:
        self.place = place
        self._files = files

    @cached_property
    def summary(self) -> Summary:
        """What dataset.json says.

        Raises:
            UsageError: There is none, so that nothing here is finished.
        """
        with self._naming(DATASET):
            try:
                file = self._files.open(DATASET)
            except (FileNotFoundError, NotADirectoryError):
                raise UsageError(
                    f"{self.place} is not a finished dataset; `faceloom build` makes one"
                ) from None
            with file:
                return _summary(read_at_most(file, _MAX_DOCUMENT))

    @cached_property
    def recipe(self) -> Recipe:
        """What it was made by."""
        return self._document(RECIPE, lambda text: Recipe.from_json(_object(text)))

    @cached_property
    def classes(self) -> tuple[LayoutClass, ...]:
        """What the values of the layouts mean, in order; nothing where there are none."""
        return self._document(LABELS, _classes) if self.recipe.class_names else ()

    @cached_property
    def provenance(self) -> Provenance:
        """Who encoded its pictures, and what services computed on."""
        if self.summary.schema == 1:
            return Provenance.of_schema_1(self.recipe)
        return self._document(PROVENANCE, lambda text: Provenance.from_json(_object(text)))

    def faces(self) -> Iterator[FaceRecord]:
        """The accepted faces in order, read line by line."""
        return self._records(METADATA, FaceRecord.from_json)

    def rejected(self) -> Iterator[RejectedRecord]:
        """The candidates that the filter refused, in order, read line by line."""
        return self._records(REJECTED, RejectedRecord.from_json)

    def failed(self) -> Iterator[FailedRecord]:
        """The candidates that could not be made, in order, read line by line."""
        return self._records(FAILED, FailedRecord.from_json)

    def picture(self, record: FaceRecord, kind: str = "images") -> bytes:
        """A file of the face with the bytes that the record promises; from a bucket, a request or two.

        Raises:
            NotFound: There is no such picture of the face.
        """
        return self._picture(record, kind, self._files.read)

    def pictures(self, *kinds: str) -> Iterator[tuple[FaceRecord, dict[str, bytes]]]:
        """All faces with their PNG files of these kinds; from a bucket shard by shard, each brought once."""
        with self._naming(METADATA):
            file = self._files.open(METADATA)
        with file:
            for starts, read in self._by_shard(file):
                for start in starts:
                    file.seek(start)
                    record = FaceRecord.from_json(_object(file.readline()))
                    yield record, {kind: self._picture(record, kind, read) for kind in kinds}

    def pixels(self, record: FaceRecord, kind: str = "images") -> "NDArray[np.uint8]":
        """A picture's pixels: [H, W, 3], grey [H, W], or of layouts class ids [H, W]. Needs numpy and Pillow.

        Raises:
            NotFound: There is no such picture of the face.
        """
        from faceloom.datasets.png import decode_png

        data = self.picture(record, kind)
        with self._naming(record.files[kind]):
            return decode_png(data)

    def path(self, record: FaceRecord, kind: str = "images") -> Path:
        """Where a picture lies, for programs that read files themselves.

        Raises:
            NotFound: There is no such picture of the face.
            UsageError: The dataset lies in a bucket.
        """
        if isinstance(self.place, ObjectUrl):
            raise UsageError(
                f"{self.place} has no folder; faceloom dataset fetch brings it into one"
            )
        name = _file(record, kind)
        with self._naming(name), self._files.open(name):
            return self.place / name

    def latents(self) -> "Latents":
        """z and w of all faces, row by row in the order of `faces`, left in their file. Needs numpy."""
        from faceloom.datasets.latent_arrays import map_latents

        with self._naming(LATENTS), self._files.open(LATENTS) as file:
            return map_latents(file, self.summary.accepted)

    def _document(self, name: str, parse: Callable[[bytes], T]) -> T:
        with self._naming(name), self._files.open(name) as file:
            return parse(read_at_most(file, _MAX_DOCUMENT))

    def _records(self, name: str, parse: Callable[[Mapping[str, Any]], T]) -> Iterator[T]:
        with self._naming(name):
            file = self._files.open(name)
        with file:
            for _, record in self._lines(file, name, parse):
                yield record

    def _lines(
        self, file: BinaryIO, name: str, parse: Callable[[Mapping[str, Any]], T]
    ) -> Iterator[tuple[int, T]]:
        """Where each line begins, and what it says; the file may be moved meanwhile."""
        start = 0
        for number in count(1):
            file.seek(start)
            line = file.readline(_MAX_LINE + 1)
            if not line:
                return
            with self._naming(f"{name}:{number}"):
                if len(line) > _MAX_LINE:
                    raise ValueError(f"it is longer than {_MAX_LINE:,} bytes")
                record = parse(_object(line))
            yield start, record
            start += len(line)

    def _by_shard(self, file: BinaryIO) -> Iterator[tuple[Iterable[int], Read]]:
        lines = self._lines(file, METADATA, FaceRecord.from_json)
        with self._naming(SHARDS):
            yield from self._files.by_shard((record.ordinal, start) for start, record in lines)

    def _picture(self, record: FaceRecord, kind: str, read: Read) -> bytes:
        name = _file(record, kind)
        with self._naming(name):
            data = read(name, record.ordinal)
            if hashlib.sha256(data).hexdigest() != record.sha256[kind]:
                raise ValueError(f"it is not the file that {METADATA} tells of")
        return data

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Names the file, and the line, in what is said of a fault."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = "it is missing" if isinstance(error, FileNotFoundError) else unreadable(error)
            raise DamagedDataset(
                f"{self.place}/{name}: {why}; faceloom verify {self.place} names every fault"
            ) from None


def _file(record: FaceRecord, kind: str) -> str:
    try:
        return record.files[kind]
    except KeyError:
        raise NotFound(f"there are no {kind} of {record.id}") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


_JSON = json.JSONDecoder(parse_constant=_no_number)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = _JSON.decode(text.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _summary(text: bytes) -> Summary:
    summary = summary_in(text)
    counts = (summary.planned, summary.accepted, summary.rejected, summary.failed)
    if not all(type(one) is int and one >= 0 for one in counts):
        raise ValueError("a count is no whole number")
    if not all(isinstance(one, str) for one in (summary.recipe_digest, summary.dataset_digest)):
        raise ValueError("a digest is no text")
    return summary


def _classes(text: bytes) -> tuple[LayoutClass, ...]:
    found = []
    for row in _object(text)["classes"]:
        red, green, blue = row["color"]
        found.append(LayoutClass(row["id"], row["name"], (red, green, blue)))
        if not isinstance(row["name"], str) or not all(
            type(one) is int and 0 <= one < 256 for one in (row["id"], red, green, blue)
        ):
            raise ValueError(f"a class is {row!r:.60}")
    return tuple(found)
