"""dataset.json: what says that a dataset is complete."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from faceloom.core.wording import unreadable
from faceloom.datasets.layout import DATASET

# What this version writes; it reads all that came before.
SCHEMA: Final = 2


@dataclass(frozen=True)
class Summary:
    """What dataset.json says.

    Args:
        recipe_digest: What it is made by.
        dataset_digest: sha256 of SHA256SUMS: equal for datasets whose files are equal.
        pixels_digest: Equal for datasets whose pictures show the same, whoever encoded them. Nothing where a
            part was written with schema 1, which knew no digests of pixels.
        schema: Of the dataset's files.
    """

    planned: int
    accepted: int
    rejected: int
    failed: int
    recipe_digest: str
    dataset_digest: str
    pixels_digest: str | None = None
    schema: int = 1


def read_summary(output: Path) -> Summary | None:
    """The summary of a finished dataset; nothing when it is not finished.

    Raises:
        ValueError: dataset.json is not what a build writes.
    """
    try:
        return summary_in((output / DATASET).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(unreadable(error)) from None


def summary_in(text: bytes) -> Summary:
    """The summary in a dataset.json.

    Raises:
        ValueError: It is not what a build writes.
    """
    try:
        data = json.loads(text)
        known = {one.name for one in fields(Summary)}
        summary = Summary(**{key: value for key, value in data.items() if key in known})
        if summary.schema > SCHEMA:
            raise ValueError(f"schema {summary.schema}; this version reads up to {SCHEMA}")
    except (TypeError, AttributeError) as error:
        raise ValueError(unreadable(error)) from None
    return summary


def summary_text(summary: Summary) -> bytes:
    """The content of dataset.json."""
    return document(asdict(summary))


def document(data: Mapping[str, Any]) -> bytes:
    """A JSON file that people read, too."""
    return json.dumps(data, indent=2).encode() + b"\n"
