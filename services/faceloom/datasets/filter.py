"""Which candidates of a build are kept: a decision over the scores that the dataset has of all of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class By(StrEnum):
    """Who decides."""

    MODEL = "model"
    THRESHOLD = "threshold"
    TOP = "top"
    PEOPLE = "people"


@dataclass(frozen=True)
class Filter:
    """A decision, as recipes record it.

    Args:
        by: Who decides: the quality model, a threshold in its place, a number of faces, or people.
        threshold: Of the model, or in its place: scores from it on are kept.
        top: How many of all candidates are kept, by score.
        kept: Where people decide, what they keep: sha256 of the sorted ids, a line each.
    """

    by: By
    threshold: float | None = None
    top: int | None = None
    kept: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote.

        Raises:
            KeyError, ValueError: It is not.
        """
        by = By(data["by"])
        value = data[_VALUE[by]]
        return cls(by, **{_VALUE[by]: value})

    def to_json(self) -> dict[str, Any]:
        """The decision as recipes write it."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        """A sentence for the dataset's card."""
        match self.by:
            case By.MODEL:
                return f"A quality model accepted those with a score of at least {self.threshold:g}"
            case By.THRESHOLD if not self.threshold:
                return "All were kept, whatever a quality model said of them"
            case By.THRESHOLD:
                return f"Those that a quality model gave a score of at least {self.threshold:g} were kept"
            case By.TOP:
                return f"The {self.top} that a quality model gave the highest scores were kept"
            case By.PEOPLE:
                return "Those were kept that people had labelled to be kept"


_VALUE = {By.MODEL: "threshold", By.THRESHOLD: "threshold", By.TOP: "top", By.PEOPLE: "kept"}
