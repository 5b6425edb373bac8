"""What a build wants of the place it lies in, and the plan that is recorded there."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from faceloom.builds.plan import NOTHING, Plan, PlannedRound, Selection, first_round, next_round
from faceloom.builds.shards.commit import Draft, Shard
from faceloom.core.errors import UsageError
from faceloom.core.wording import unreadable
from faceloom.datasets.layout import DATASET, PLAN, RECIPE, STATE, growth
from faceloom.datasets.manifest import Manifest
from faceloom.datasets.outcomes import Outcome
from faceloom.datasets.place import Output
from faceloom.datasets.recipe import Recipe, differences
from faceloom.datasets.summary import Summary


class Shards(Protocol):
    """The shards of one build."""

    def clean(self) -> None:
        """Removes what others left unfinished. Only for the one run that makes the dataset."""

    def discard(self) -> None:
        """Removes the drafts that were begun here and did not come to count."""

    def draft(self, index: int) -> Draft:
        """Begins a shard: the generation after whatever is there."""

    def commit(self, draft: Draft, outcomes: Sequence[Outcome]) -> Shard:
        """Makes a draft count, unless another of its generation does; answers with what counts."""

    def find(self, index: int) -> Shard | None:
        """The newest generation of a shard that counts."""

    def find_only(self, index: int) -> Shard | None:
        """As `find`; every other generation is removed. Only for who may `clean`."""

    def whole(self, shard: Shard) -> Shard:
        """A found shard with all of its files in its folder, pictures too."""


class BuildStorage(ABC):
    """The place of one build: its dataset, its plan, its shards."""

    output: Output

    @abstractmethod
    def check(self) -> None:
        """Makes sure that nobody's files are in the way.

        Raises:
            UsageError: There is something else than a build.
        """

    @abstractmethod
    def lock(self, shared: bool = False) -> AbstractContextManager[None]:
        """Holds the place as long as it is worked on, alone or with others who share it.

        Raises:
            FolderInUse: Another run holds it.
            CannotWrite: It cannot be written.
        """

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file of the place.

        Raises:
            OSError: FileNotFoundError where there is none.
        """

    @abstractmethod
    def write_once(self, name: str, data: bytes) -> None:
        """Puts a file in place whole, unless there is one: of many who try, the first wins.

        It is a compare-and-swap against nothing: exclusive create in a folder, conditional put on a store.
        """

    @abstractmethod
    def names(self, folder: str) -> Sequence[str]:
        """Names of the files in a folder, as `read` takes them; none where there is no folder."""

    @abstractmethod
    def shards(self, plan: Plan) -> Shards:
        """Its shards, while it is held."""

    @abstractmethod
    def committed(self) -> Mapping[int, str]:
        """The newest generation of every shard by index. Nothing is verified."""

    @abstractmethod
    def read_manifest(self, generation: str) -> Manifest:
        """What one of `committed` says about itself.

        Raises:
            OSError: It is gone.
            ValueError: It is damaged.
        """

    @abstractmethod
    def read_summary(self) -> Summary | None:
        """The summary of a finished dataset; nothing when it is not finished.

        Raises:
            ValueError: dataset.json is not what a build writes.
        """

    @abstractmethod
    def finalize(self, plan: Plan, shards: Sequence[Shard]) -> Summary:
        """Makes the dataset out of all its shards, and declares it complete."""

    @abstractmethod
    def reopen(self) -> None:
        """Takes back that the dataset is complete."""

    @abstractmethod
    def remove(self) -> None:
        """Removes what builds wrote, and nothing else.

        Raises:
            UsageError: It is not a build's, or a run is working on it.
        """

    def read_plan(self) -> Plan | None:
        """What the unfinished or finished build here was begun with, and how it grew.

        Raises:
            UsageError: It cannot be read.
        """
        recorded: list[PlannedRound] = []
        name = PLAN
        try:
            while True:
                recorded.append(PlannedRound.from_bytes(self.read(name)))
                name = growth(len(recorded))
        except FileNotFoundError:
            return Plan(tuple(recorded)) if recorded else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unusable(name, error) from None

    def read_finished_recipe(self) -> Recipe | None:
        """What the dataset here was made by, if it is finished, even when its state was removed.

        Raises:
            UsageError: It cannot be read.
        """
        try:
            self.read(DATASET)
        except OSError:
            return None
        try:
            return Recipe.from_json(json.loads(self.read(RECIPE)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unusable(RECIPE, error) from None

    def begun_with(self) -> Recipe | None:
        """What the build or the dataset here is made by, as far as it has come.

        Raises:
            UsageError: It cannot be read.
        """
        plan = self.read_plan()
        return plan.recipe if plan else self.read_finished_recipe()

    def take_up(self, recipe: Recipe, shards: int | None, selection: Selection = NOTHING) -> Plan:
        """The plan that is recorded here; a new one where there is none. Many may do it at once.

        A build of fewer candidates, or accepted faces, grows: what is missing is planned as one more round.

        Args:
            recipe: What the build is made by now.
            shards: As in `BuildOptions`; only for what is not planned yet.
            selection: The same.

        Raises:
            UsageError: The build here is of another method, or larger; or it cannot be read.
            InvalidArgument: There are no seeds left for it to grow.
        """
        plan = self.read_plan()
        begun = plan.recipe if plan else self.read_finished_recipe()
        if begun is not None:
            self._check_same(begun, recipe)
        if plan is not None and plan.recipe.spec == recipe.spec:
            return plan
        if plan is not None:
            self.record(len(plan.recorded), next_round(plan, recipe, shards, selection))
        elif begun is not None and begun.spec != recipe.spec:
            raise UsageError(
                f"{self.output} cannot grow without its {STATE}; choose another output folder"
            )
        else:
            self.record(0, first_round(begun or recipe, shards, selection))
        plan = self.read_plan()
        # Another may have been faster, with another size.
        if plan is None or plan.recipe.spec != recipe.spec:
            raise UsageError(f"{self.output} was begun with another size just now")
        return plan

    def record(self, number: int, planned: PlannedRound) -> None:
        """Puts a round of the plan in place, unless there is one."""
        self.write_once(growth(number) if number else PLAN, planned.to_bytes())

    def _check_same(self, begun: Recipe, recipe: Recipe) -> None:
        changes = differences(begun, recipe)
        if changes:
            raise UsageError(
                f"{self.output} holds a build of another recipe ({'; '.join(changes)});"
                " give what it was begun with, or choose another output folder"
            )
        spec = recipe.spec
        if (begun.spec.candidates is None) != (spec.candidates is None):
            raise UsageError(f"{self.output} holds {begun.spec}; it can grow in these alone")
        if spec.is_choice and spec.target != begun.spec.target:
            raise UsageError(
                f"{self.output} holds what was chosen of {begun.spec}, and does not grow;"
                " choose another output folder"
            )
        if spec.target < begun.spec.target:
            raise UsageError(f"{self.output} holds {begun.spec}; a dataset does not become smaller")

    def _unusable(self, name: str, error: Exception) -> UsageError:
        return UsageError(
            f"{self.output}/{name} cannot be used ({unreadable(error)}); choose another output folder"
        )
