"""The lines of a dataset's lists as typed records; columns that nobody here knows are kept as they are."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from faceloom.datasets.outcomes import seed_from_json, seed_to_json

# Which columns say where a picture lies and what its bytes are. Only the face itself is always there.
_FILE: Final = {
    "images": "file_name",
    "sketches": "sketch_file_name",
    "layouts": "layout_file_name",
}
_SHA256: Final = {"images": "sha256", "sketches": "sketch_sha256", "layouts": "layout_sha256"}
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
        files: Paths below the dataset, by kind: images, sketches, layouts.
        sha256: Of those files, by kind.
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
    extra: Mapping[str, Any]

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "FaceRecord":
        """The record in a line.

        Raises:
            ValueError: A column is missing, or of another type.
        """
        kinds = [kind for kind, column in _FILE.items() if kind == "images" or column in row]
        return cls(
            _name(row, "id"),
            _whole(row, "ordinal"),
            _seed(row),
            _number(row, "truncation_psi"),
            _number(row, "quality"),
            _name(row, "split"),
            {kind: _path(row, _FILE[kind]) for kind in kinds},
            {kind: _sha256(row, _SHA256[kind]) for kind in kinds},
            _others(row, _FACE_COLUMNS),
        )

    def to_json(self) -> dict[str, Any]:
        """The line again. The seed is text where browsers would round it."""
        return {
            **{_FILE[kind]: path for kind, path in self.files.items()},
            "id": self.id,
            "ordinal": self.ordinal,
            "seed": seed_to_json(self.seed),
            "truncation_psi": self.truncation_psi,
            "quality": self.quality,
            "split": self.split,
            **{_SHA256[kind]: digest for kind, digest in self.sha256.items()},
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


_FACE_COLUMNS: Final = frozenset(
    (
        "id",
        "ordinal",
        "seed",
        "truncation_psi",
        "quality",
        "split",
        *_FILE.values(),
        *_SHA256.values(),
    )
)
_REJECTED_COLUMNS: Final = frozenset(("id", "ordinal", "seed", "quality"))
_FAILED_COLUMNS: Final = frozenset(
    ("id", "ordinal", "seed", "service", "reason", "detail", "attempts")
)


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
