"""The folder of one build: is it ours, whose is it now, and what was it begun with.

The dataset lies in the folder itself, the working state in `.build/`. Both belong to one run at a time, or to
any number of workers that add shards and touch nothing else.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faceloom.pipeline.durable import take_lock, write_once
from faceloom.pipeline.plan import shard_count
from faceloom.pipeline.recipe import Recipe, differences
from faceloom.runtime.errors import UsageError

STATE = ".build"
DATASET = "dataset.json"
RECIPE = "recipe.json"


class FolderInUse(UsageError):
    """Somebody else holds the folder; they will let go of it."""


class CannotWrite(UsageError):
    """The folder cannot be written.

    Args:
        output: The folder.
        cause: What the system said.
    """

    def __init__(self, output: Path, cause: OSError) -> None:
        super().__init__(f"cannot write to {output}: {cause.strerror}")
        self.cause = cause


@dataclass(frozen=True)
class RecordedPlan:
    """What a build was begun with. The number of shards cannot change while some are committed."""

    recipe: Recipe
    shards: int


class BuildFolder:
    """Where one dataset is made."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.state = output / STATE
        self.shards = self.state / "shards"
        self._plan = self.state / "build.json"

    def check(self) -> None:
        """Makes sure that nobody's files are in the way.

        Raises:
            UsageError: The folder holds something else than a build.
        """
        if self.output.exists() and not self.output.is_dir():
            raise UsageError(f"{self.output} is not a folder")
        ours = self.state.is_dir() or (self.output / DATASET).is_file()
        if not ours and self.output.exists() and any(self.output.iterdir()):
            raise UsageError(
                f"{self.output} is neither empty nor a build; choose another output folder"
            )

    @contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Holds the folder, alone or with others who share it.

        Raises:
            FolderInUse: Another run holds it.
            CannotWrite: The folder cannot be written.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.state / "lock", shared)
        except BlockingIOError:
            raise FolderInUse(f"another run is working on {self.output}") from None
        except OSError as error:
            raise CannotWrite(self.output, error) from None
        try:
            if not shared:
                for left_behind in self.state.glob(".new-*"):
                    left_behind.unlink()
            yield
        finally:
            os.close(lock)

    def read_plan(self) -> RecordedPlan | None:
        """What the unfinished or finished build here was begun with.

        Raises:
            UsageError: It cannot be read.
        """
        try:
            data = json.loads(self._plan.read_bytes())
            return RecordedPlan(Recipe.from_json(data["recipe"]), int(data["shards"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self._plan} cannot be used ({error}); choose another output folder"
            ) from None

    def read_finished_recipe(self) -> Recipe | None:
        """What the dataset here was made by, if it is finished, even when its state was removed.

        Raises:
            UsageError: It cannot be read.
        """
        if not (self.output / DATASET).is_file():
            return None
        try:
            return Recipe.from_json(json.loads((self.output / RECIPE).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.output / RECIPE} cannot be used ({error}); choose another output folder"
            ) from None

    def take_up(self, recipe: Recipe, shards: int | None) -> RecordedPlan:
        """The plan that is recorded here; a new one where there is none. Many may do it at once.

        Args:
            recipe: What the build is made by now.
            shards: As in `run.Options`; only for a new plan.

        Raises:
            UsageError: The build here is of another recipe, or cannot be read.
        """
        if self.read_plan() is None and self.read_finished_recipe() in (None, recipe):
            self._record(RecordedPlan(recipe, shard_count(recipe.spec, shards)))
        plan = self.read_plan()
        begun_with = plan.recipe if plan else self.read_finished_recipe()
        changes = differences(begun_with, recipe) if begun_with else []
        if plan is None or changes:
            raise UsageError(
                f"{self.output} holds a build of another recipe ({'; '.join(changes)});"
                " give what it was begun with, or choose another output folder"
            )
        return plan

    def _record(self, plan: RecordedPlan) -> None:
        data = {"recipe": plan.recipe.to_json(), "shards": plan.shards}
        write_once(self._plan, json.dumps(data, indent=1).encode() + b"\n")
