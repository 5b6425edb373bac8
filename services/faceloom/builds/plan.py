"""What a build was begun with, and how it grew: one recorded round after the other, each with its shards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from faceloom.datasets.candidates import Block, Round, block, rounds, shard_count
from faceloom.datasets.recipe import Recipe

SCHEMA: Final = 2


@dataclass(frozen=True)
class Selection:
    """What a build does not make, or decide, candidate by candidate.

    Args:
        pool: A finished dataset whose scores and faces are used: a folder, s3://bucket/prefix, or a folder of
            the build's own state.
        kept: Which ordinals are kept, where the recipe's filter is a choice.
    """

    pool: str = ""
    kept: tuple[int, ...] = ()


NOTHING: Final = Selection()


@dataclass(frozen=True)
class PlannedRound:
    """A round as it was recorded. No part of it changes while the build is there.

    Args:
        recipe: What the dataset is made by once this round is done.
        shards: How many shards the round has.
        selection: What is not made, but taken or chosen.
    """

    recipe: Recipe
    shards: int
    selection: Selection = NOTHING

    @classmethod
    def from_bytes(cls, text: bytes) -> "PlannedRound":
        """The round in a file.

        Raises:
            ValueError, KeyError, TypeError: It is none, or one that only a newer version knows.
        """
        data: dict[str, Any] = json.loads(text)
        # Schema 1 had no number.
        if data.get("schema", 1) > SCHEMA:
            raise ValueError(f"schema {data['schema']}; this version reads up to {SCHEMA}")
        selection = Selection(data.get("pool", ""), tuple(data.get("kept", ())))
        return cls(Recipe.from_json(data["recipe"]), int(data["shards"]), selection)

    def to_bytes(self) -> bytes:
        """The round as a file."""
        data = {"schema": SCHEMA, "recipe": self.recipe.to_json(), "shards": self.shards}
        data |= {"pool": self.selection.pool} if self.selection.pool else {}
        data |= {"kept": self.selection.kept} if self.selection.kept else {}
        return json.dumps(data, indent=1).encode() + b"\n"


@dataclass(frozen=True)
class Plan:
    """All rounds of a build, the newest last."""

    recorded: tuple[PlannedRound, ...]

    @property
    def recipe(self) -> Recipe:
        """What the dataset is made by."""
        return self.recorded[-1].recipe

    @property
    def selection(self) -> Selection:
        """What is taken, or chosen, for what is still to be made."""
        return self.recorded[-1].selection

    @property
    def shards(self) -> int:
        """How many shards the build has, of all rounds."""
        return sum(one.shards for one in self.recorded)

    @cached_property
    def rounds(self) -> tuple[Round, ...]:
        """The candidates of each round."""
        earlier = [one.recipe.spec.target for one in self.recorded[:-1]]
        return rounds(self.recipe.spec, earlier)

    def blocks(self, shard: int) -> range:
        """The indexes of the blocks of a shard."""
        number, first = self._round_of(shard)
        return self.rounds[number].shard_blocks(self.recorded[number].shards, shard - first)

    def block(self, index: int) -> Block:
        """The block of that index."""
        return block(self.rounds, index)

    def recipe_of(self, shard: int) -> Recipe:
        """The recipe of the round that a shard belongs to; its method is what the shard is made by."""
        return self.recorded[self._round_of(shard)[0]].recipe

    def _round_of(self, shard: int) -> tuple[int, int]:
        """The number of a shard's round, and the index of that round's first shard."""
        first = 0
        for number, one in enumerate(self.recorded):
            if shard < first + one.shards:
                return number, first
            first += one.shards
        raise IndexError(shard)


def first_round(recipe: Recipe, shards: int | None, selection: Selection) -> PlannedRound:
    """The round that a build begins with, in as many shards as wanted or as suit it."""
    return _round(recipe, shards, selection, ())


def next_round(
    plan: Plan, larger: Recipe, shards: int | None, selection: Selection
) -> PlannedRound:
    """The round that makes a build as large as a recipe of the same method says.

    Raises:
        InvalidArgument: There are no seeds left for it.
    """
    earlier = [one.recipe.spec.target for one in plan.recorded]
    return _round(plan.recipe.grown_to(larger), shards, selection, earlier)


def _round(
    recipe: Recipe, shards: int | None, selection: Selection, earlier: Sequence[int]
) -> PlannedRound:
    new = rounds(recipe.spec, earlier)[-1]
    return PlannedRound(recipe, shard_count(len(new.blocks), shards), selection)
