"""dataset.json: what says that a dataset is complete."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceloom.core.wording import unreadable
from faceloom.datasets.layout import DATASET


@dataclass(frozen=True)
class Summary:
    """What dataset.json says."""

    planned: int
    accepted: int
    rejected: int
    failed: int
    recipe_digest: str
    dataset_digest: str


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
        return Summary(**json.loads(text))
    except TypeError as error:
        raise ValueError(unreadable(error)) from None


def summary_text(summary: Summary) -> bytes:
    """The content of dataset.json."""
    return document(asdict(summary))


def document(data: Mapping[str, Any]) -> bytes:
    """A JSON file that people read, too."""
    return json.dumps(data, indent=2).encode() + b"\n"
