"""The files of a dataset on an object store, where pictures lie in the tars of the shards.

A tar's bytes follow from its manifest (see `tar.pack`), so a picture is a range of it and needs one request;
whoever wants all pictures takes each tar once. What is brought lies in files that have no name any more: they
go when nobody reads them.
"""

import hashlib
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

from faceloom.datasets.files import MAX_PICTURE, Read, read_at_most
from faceloom.datasets.layout import SHARDS
from faceloom.datasets.manifest import Manifest
from faceloom.datasets.objects import Objects
from faceloom.datasets.place import ObjectUrl

_SUFFIX = ".json"
_MANIFEST = re.compile(rf"{re.escape(SHARDS)}/(\d+)/(\d+){re.escape(_SUFFIX)}")
_DIGITS_IN_NAME = 12
_RECORD = 512
_MAX_MANIFEST = 256 * 2**20


@dataclass(frozen=True)
class Tar:
    """A shard's files.

    Args:
        name: Of the object.
        places: Start and size of each file in it.
    """

    name: str
    places: Mapping[str, tuple[int, int]]


class BucketFiles:
    """See `Files`."""

    def __init__(self, url: ObjectUrl) -> None:
        self._objects = Objects(url)
        self._last: tuple[str, Tar] | None = None

    def open(self, path: str) -> BinaryIO:
        """An object, brought here."""
        with tempfile.TemporaryDirectory(prefix="faceloom-") as scratch:
            file = Path(scratch) / "object"
            self._objects.download(path, file)
            return file.open("rb")

    def read(self, path: str, ordinal: int) -> bytes:
        """A file of the face of that ordinal, from one request once its shard is known."""
        tar = self._tar(self._shard_of(ordinal))
        start, size = _place(tar, path)
        return self._objects.read_range(tar.name, start, size)

    def by_shard(self, faces: Iterable[tuple[int, int]]) -> Iterator[tuple[Iterable[int], Read]]:
        """See `Files`. Each tar is brought once."""
        marks: dict[str, array[int]] = {}
        for ordinal, mark in faces:
            marks.setdefault(self._shard_of(ordinal), array("Q")).append(mark)
        for manifest, those in marks.items():
            tar = self._tar(manifest)
            with self.open(tar.name) as file:
                yield those, partial(_read, file, tar)

    @cached_property
    def _shards(self) -> Mapping[int, str]:
        """The manifest that has each accepted candidate, of the newest generation of every shard."""
        newest: dict[int, tuple[int, str]] = {}
        for path in self._objects.list(SHARDS):
            if found := _MANIFEST.fullmatch(path):
                index, generation = map(int, found.groups())
                newest[index] = max(newest.get(index, (-1, "")), (generation, path))
        return {
            outcome.ordinal: path
            for _, (_, path) in sorted(newest.items())
            for outcome in self._manifest(path)[0].accepted
        }

    def _shard_of(self, ordinal: int) -> str:
        try:
            return self._shards[ordinal]
        except KeyError:
            raise ValueError("no shard has it") from None

    def _tar(self, manifest: str) -> Tar:
        if self._last is None or self._last[0] != manifest:
            self._last = manifest, self._manifest(manifest)[1]
        return self._last[1]

    def _manifest(self, path: str) -> tuple[Manifest, Tar]:
        """What a shard says about itself, and where its files are."""
        with self.open(path) as file:
            text = read_at_most(file, _MAX_MANIFEST)
        manifest = Manifest.from_bytes(text)
        digest = hashlib.sha256(text).hexdigest()[:_DIGITS_IN_NAME]
        return manifest, Tar(f"{path.removesuffix(_SUFFIX)}.{digest}.tar", _places(manifest))


def _places(manifest: Manifest) -> dict[str, tuple[int, int]]:
    """Before each file there is one record with its name; its bytes end with a whole record."""
    places, end = {}, 0
    for path in sorted(manifest.files):
        size = manifest.files[path].bytes
        if type(size) is not int or size < 0:
            raise ValueError(f"the size of {path} is {size!r:.60}")
        places[path] = (end + _RECORD, size)
        end += _RECORD + -(-size // _RECORD) * _RECORD
    return places


def _place(tar: Tar, path: str) -> tuple[int, int]:
    start, size = tar.places.get(path, (0, 0))
    if not 0 < size <= MAX_PICTURE:
        raise ValueError(f"it has {size} bytes in {tar.name}")
    return start, size


def _read(file: BinaryIO, tar: Tar, path: str, ordinal: int) -> bytes:
    start, size = _place(tar, path)
    file.seek(start)
    return file.read(size)
