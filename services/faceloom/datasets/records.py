"""The lines of a dataset's lists as typed records; columns that nobody here knows are kept as they are."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from faceloom.datasets.outcomes import seed_from_json, seed_to_json

# How the columns end that say where a file of a face lies and what its bytes are. Before it stands what is in
# the file, `sketch_file_name`; of the face itself, which is always there, nothing.
_FILE: Final = "file_name"
_SHA256: Final = "sha256"
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_MAX_SEED: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """An accepted face, a line of metadata.jsonl.

    Args:
        id: Its name.
        ordinal: Its place among the candidates.
        seed: What it is made from.
        truncation_psi: How far its styles are from the mean.
        quality: Its score.
        split: train, validation or test.
        files: Paths below the dataset, by kind, the folder they are in: images, sketches, layouts.
        sha256: Of those files, by kind.
        columns: How their columns begin, by kind.
        extra: All other columns.
    """

    id: str
    ordinal: int
    seed: int
    truncation_psi: float
    quality: float
    split: str
    files: Mapping[str, str]
    sha256: Mapping[str, str]
    columns: Mapping[str, str]
    extra: Mapping[str, Any]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "FaceRecord":
        """The record in a line.

        Raises:
            ValueError: A column is missing, or of another type.
        """
        columns = _file_columns(row)
        return cls(
            _name(row, "id"),
            _whole(row, "ordinal"),
            _seed(row),
            _number(row, "truncation_psi"),
            _number(row, "quality"),
            _name(row, "split"),
            {kind: row[f"{column}{_FILE}"] for kind, column in columns.items()},
            {kind: _sha256(row, f"{column}{_SHA256}") for kind, column in columns.items()},
            columns,
            _others(row, _FACE_COLUMNS.union(*map(_columns_of, columns.values()))),
        )

    def to_json(self) -> dict[str, Any]:
        """The line again. The seed is text where browsers would round it."""
        return {
            **{f"{self.columns[kind]}{_FILE}": path for kind, path in self.files.items()},
            "id": self.id,
            "ordinal": self.ordinal,
            "seed": seed_to_json(self.seed),
            "truncation_psi": self.truncation_psi,
            "quality": self.quality,
            "split": self.split,
            **{f"{self.columns[kind]}{_SHA256}": digest for kind, digest in self.sha256.items()},
            **self.extra,
        }


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A candidate that the filter refused, a line of rejected.jsonl. There is no picture of it."""

    id: str
    ordinal: int
    seed: int
    quality: float
    extra: Mapping[str, Any]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "RejectedRecord":
        """The record in a line.

        Raises:
            ValueError: A column is missing, or of another type.
        """
        return cls(
            _name(row, "id"),
            _whole(row, "ordinal"),
            _seed(row),
            _number(row, "quality"),
            _others(row, _REJECTED_COLUMNS),
        )


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A candidate that was not made, a line of failed.jsonl; see `outcomes.Failed`."""

    id: str
    ordinal: int
    seed: int
    service: str
    reason: str
    detail: str
    attempts: int
    extra: Mapping[str, Any]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "FailedRecord":
        """The record in a line.

        Raises:
            ValueError: A column is missing, or of another type.
        """
        return cls(
            _name(row, "id"),
            _whole(row, "ordinal"),
            _seed(row),
            _name(row, "service"),
            _name(row, "reason"),
            _text(row, "detail"),
            _whole(row, "attempts"),
            _others(row, _FAILED_COLUMNS),
        )


_FACE_COLUMNS: Final = frozenset(("id", "ordinal", "seed", "truncation_psi", "quality", "split"))
_REJECTED_COLUMNS: Final = frozenset(("id", "ordinal", "seed", "quality"))
_FAILED_COLUMNS: Final = frozenset(
    ("id", "ordinal", "seed", "service", "reason", "detail", "attempts")
)


def _file_columns(row: Mapping[str, Any]) -> dict[str, str]:
    """How the columns of every file begin, by the folder it is in."""
    beginnings = {"": _FILE} | {
        name.removesuffix(_FILE): name for name in row if name.endswith(f"_{_FILE}")
    }
    columns: dict[str, str] = {}
    for beginning, name in beginnings.items():
        kind, _, rest = _path(row, name).partition("/")
        if not rest or kind in columns:
            raise _wrong(name, row[name], "path in a folder of its own")
        columns[kind] = beginning
    return columns


def _columns_of(beginning: str) -> set[str]:
    return {f"{beginning}{_FILE}", f"{beginning}{_SHA256}"}


def _others(row: Mapping[str, Any], known: frozenset[str]) -> Mapping[str, Any]:
    return {name: row[name] for name in row.keys() - known}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _value(row, name)
    if not isinstance(value, str):
        raise _wrong(name, value, "text")
    return value


def _name(row: Mapping[str, Any], name: str) -> str:
    """Text that may stand in a line for people."""
    value = _text(row, name)
    if not value or not value.isprintable():
        raise _wrong(name, value, "name")
    return value


def _whole(row: Mapping[str, Any], name: str) -> int:
    value = _value(row, name)
    # True and False are whole numbers to Python.
    if type(value) is not int or value < 0:
        raise _wrong(name, value, "whole number from 0 on")
    return value


def _number(row: Mapping[str, Any], name: str) -> float:
    value = _value(row, name)
    most = sys.float_info.max
    if type(value) not in (int, float) or not -most <= value <= most:
        raise _wrong(name, value, "number")
    return float(value)


def _seed(row: Mapping[str, Any]) -> int:
    value = _value(row, "seed")
    digits = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20
    if not digits and type(value) is not int:
        raise _wrong("seed", value, "whole number")
    seed = seed_from_json(value)
    if not 0 <= seed <= _MAX_SEED:
        raise _wrong("seed", value, "number of 64 bits")
    return seed


def _path(row: Mapping[str, Any], name: str) -> str:
    """A path that stays below the dataset as far as its text says."""
    value = _name(row, name)
    if {"", ".", ".."} & set(value.split("/")):
        raise _wrong(name, value, "path below the dataset")
    return value


def _sha256(row: Mapping[str, Any], name: str) -> str:
    value = _text(row, name)
    if not _HEX.fullmatch(value):
        raise _wrong(name, value, "sha256")
    return value


def _value(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise ValueError(f"{name} is missing")
    return row[name]


def _wrong(name: str, value: Any, wanted: str) -> ValueError:
    return ValueError(f"{name} is {value!r:.60}, no {wanted}")
