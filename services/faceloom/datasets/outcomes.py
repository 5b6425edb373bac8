"""How a candidate ends: accepted, rejected or failed, and never two of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Below it, JavaScript and tables that read every number as a float know whole numbers exactly. All seeds
# of a build lie on the same side.
_ROUNDED_FROM = 2**53


@dataclass(frozen=True)
class Accepted:
    """Kept by the filter, with all that the stages make of it.

    Args:
        files: The paths of its files, by kind: images, sketches, layouts.
    """

    ordinal: int
    seed: int
    id: str
    score: float
    files: Mapping[str, str]


@dataclass(frozen=True)
class Rejected:
    """Refused by the quality service."""

    ordinal: int
    seed: int
    id: str
    score: float


@dataclass(frozen=True)
class Failed:
    """Not made.

    Args:
        service: Which one could not do its part.
        reason: The error's constant.
        detail: What else can be said and would be said again: messages with error ids are left to the logs.
        attempts: Calls that failed with this candidate among their items.
    """

    ordinal: int
    seed: int
    id: str
    service: str
    reason: str
    detail: str
    attempts: int


Outcome = Accepted | Rejected | Failed
OutcomeType = TypeVar("OutcomeType", Accepted, Rejected, Failed)


@dataclass(frozen=True)
class Face:
    """An accepted candidate with everything that the dataset keeps of it.

    Args:
        outcome: What is recorded.
        files: Its files by path.
        pixels: sha256 of the pixels of those that are pictures, by path.
        z: float32 [z_dim].
        w: float32, what the synthesis network received.
    """

    outcome: Accepted
    files: Mapping[str, bytes]
    pixels: Mapping[str, str]
    z: "NDArray[np.float32]"
    w: "NDArray[np.float32]"


def seed_to_json(seed: int) -> int | str:
    """A seed in JSON that browsers and tables read: text where they would round a number."""
    return seed if seed < _ROUNDED_FROM else str(seed)


def seed_from_json(seed: int | str) -> int:
    """The seed in such JSON, also in that of before, which had nothing but numbers.

    Raises:
        ValueError: It is no whole number.
    """
    return int(seed)


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome as a row of a manifest."""
    return asdict(outcome)


def from_json(kind: type[OutcomeType], row: Mapping[str, Any]) -> OutcomeType:
    """The outcome in a manifest's row; what this version does not know is left out.

    Raises:
        KeyError: Something is missing.
    """
    return kind(**{one.name: row[one.name] for one in fields(kind)})


def accepted_from_json(row: Mapping[str, Any]) -> Accepted:
    """The outcome in a manifest's row.

    Raises:
        ValueError: The row names other files than its ordinal says.
    """
    outcome = from_json(Accepted, row)
    for kind, path in outcome.files.items():
        if not kind.isidentifier() or not _is_file_of(path, kind, outcome.ordinal):
            raise ValueError(f"candidate {outcome.ordinal} has files of another name")
    return outcome


def _is_file_of(path: str, kind: str, ordinal: int) -> bool:
    beginning = f"{kind}/{ordinal:07d}."
    return path.startswith(beginning) and path.removeprefix(beginning).isalnum()
