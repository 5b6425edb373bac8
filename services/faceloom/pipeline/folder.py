"""The folder of one build: is it ours, whose is it now, and what was it begun with.

The dataset lies in the folder itself, the working state in `.build/`. Both belong to one run at a time.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faceloom.pipeline.durable import take_lock, write_atomically
from faceloom.pipeline.recipe import Recipe
from faceloom.runtime.errors import UsageError

STATE = ".build"
DATASET = "dataset.json"
RECIPE = "recipe.json"


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
    def lock(self) -> Iterator[None]:
        """Holds the folder.

        Raises:
            UsageError: Another run holds it, or the folder cannot be written.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.state / "lock")
        except BlockingIOError:
            raise UsageError(f"another run is working on {self.output}") from None
        except OSError as error:
            raise UsageError(f"cannot write to {self.output}: {error.strerror}") from None
        try:
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

    def write_plan(self, plan: RecordedPlan) -> None:
        """Records what the build is begun with."""
        data = {"recipe": plan.recipe.to_json(), "shards": plan.shards}
        write_atomically(self._plan, json.dumps(data, indent=1).encode() + b"\n")
