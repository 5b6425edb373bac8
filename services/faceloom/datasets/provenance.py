"""provenance.json: what a dataset was made with that is no part of its recipe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from faceloom.datasets.recipe import Platform, Recipe
from faceloom.datasets.summary import SCHEMA


@dataclass(frozen=True)
class Provenance:
    """Who made it on what.

    Args:
        encoders: Who wrote its PNG files.
        platforms: What services computed on.
    """

    encoders: Sequence[str]
    platforms: Sequence[Platform]

    @classmethod
    def of(cls, encoders: Iterable[str], platforms: Iterable[Platform]) -> Self:
        """Each once, in order."""
        return cls(tuple(sorted(set(encoders))), tuple(sorted(set(platforms))))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote.

        Raises:
            KeyError, TypeError: It is not.
        """
        return cls.of(data["encoders"], (Platform(**one) for one in data["platforms"]))

    @classmethod
    def of_schema_1(cls, recipe: Recipe) -> Self:
        """What a recipe of schema 1 says of it."""
        return cls.of([recipe.encoder] if recipe.encoder else (), recipe.platforms)

    def to_json(self) -> dict[str, Any]:
        """As provenance.json says it."""
        return {"schema": SCHEMA, **asdict(self)}
