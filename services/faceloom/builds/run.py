"""Runs a build from where it stands to the finished dataset, for the command line and the service alike."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from faceloom.builds.block_maker import BlockMaker, patient_services
from faceloom.builds.cancellation import one_cause, to_end
from faceloom.builds.discovery import probe
from faceloom.builds.options import DEFAULT, BuildOptions
from faceloom.builds.plan import Plan, Selection
from faceloom.builds.pool import Pool, judge_of, open_selection
from faceloom.builds.progress import BuildPhase, BuildProgress, Tally
from faceloom.builds.run_stats import Records, recorded
from faceloom.builds.shards.commit import Shard
from faceloom.builds.shards.maker import ShardMaker
from faceloom.builds.stages import services_of
from faceloom.builds.status import finished
from faceloom.builds.stopwatch import Stopwatch
from faceloom.builds.storage.build import BuildStorage, Shards
from faceloom.builds.storage.open import open_build
from faceloom.builds.verification import is_intact
from faceloom.clients.client import Faceloom
from faceloom.datasets.candidates import shard_count
from faceloom.datasets.layout import POOL
from faceloom.datasets.place import Output, below
from faceloom.datasets.recipe import Recipe, differences
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.summary import Summary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A finished build.

    Args:
        output: Where the dataset is.
        summary: Its counts and digests.
        progress: How this run went: rate and seconds by part.
        notes: What a person should know about the run.
    """

    output: Output
    summary: Summary
    progress: BuildProgress
    notes: tuple[str, ...]


async def run_build(
    spec: BuildSpec,
    output: Output,
    faceloom: Faceloom,
    options: BuildOptions = DEFAULT,
    on_progress: Callable[[BuildProgress], None] = lambda progress: None,
) -> Result:
    """Makes a dataset, or what is missing of it.

    Cancelling is safe at any moment, and so is kill -9: calling again goes on from the committed shards.

    Raises:
        UsageError: The folder is not free for this build; the message says why.
        ServiceError: A service stayed away, changed, or failed everything.
    """
    storage = open_build(output)
    await to_end(storage.check)
    with storage.lock(), one_cause(output):
        return await _BuildRun(spec, storage, faceloom, options, on_progress).run()


class _BuildRun:
    """One run, while the place is held."""

    def __init__(
        self,
        spec: BuildSpec,
        storage: BuildStorage,
        faceloom: Faceloom,
        options: BuildOptions,
        on_progress: Callable[[BuildProgress], None],
    ) -> None:
        self._spec = spec
        self._storage = storage
        self._faceloom = faceloom
        self._options = options
        self._stopwatch = Stopwatch((*services_of(spec.stages), "encode", "commit", "finalize"))
        self._on_progress = on_progress
        self._tally = Tally(self._stopwatch, on_progress)
        self._shards: dict[int, Shard] = {}

    async def run(self) -> Result:
        options = self._options
        services = patient_services(
            self._spec.stages, options.blocks, options.patience, self._stopwatch
        )
        self._tally.spent_before = await to_end(Records(self._storage).total)
        self._tally.enter(BuildPhase.PREPARING)
        begun = await to_end(self._storage.read_plan)
        quality = options.quality or (judge_of(begun) if begun else "")
        found = await probe(self._spec, self._faceloom, services, quality)
        finished = await to_end(self._finished, found.recipe)
        if finished is not None:
            return self._result(finished)
        selection = await self._selection(begun)
        opened = await to_end(open_selection, self._storage.output, found.recipe, selection)
        plan = await to_end(self._storage.take_up, opened.recipe, options.shards, opened.selection)
        self._tally.recipe_digest = plan.recipe.digest
        planned = plan.recorded[-1].shards
        if options.shards and planned != shard_count(len(plan.rounds[-1].blocks), options.shards):
            self._note(f"this build keeps the number of shards that it was begun with: {planned}")
        block_maker = BlockMaker(
            plan.recipe,
            found.items_per_message,
            self._faceloom,
            services,
            self._stopwatch,
            await to_end(Pool, opened.pool, plan.recipe) if opened.pool else None,
            plan.selection.kept,
        )
        async with recorded(self._storage, self._stopwatch):
            return await self._make(plan, block_maker)

    async def _selection(self, begun: Plan | None) -> Selection:
        """The pool that was given or recorded; where the best are chosen of none, a pool of scores."""
        if self._options.pool is not None:
            return Selection(str(self._options.pool), self._options.kept)
        if begun is not None:
            return begun.selection
        if not self._spec.top:
            return Selection()
        await run_build(
            replace(self._spec, top=0, stages=()),
            below(self._storage.output, POOL),
            self._faceloom,
            replace(self._options, retry_failed=False),
            self._on_progress,
        )
        return Selection(POOL)

    async def _make(self, plan: Plan, block_maker: BlockMaker) -> Result:
        store = self._storage.shards(plan)
        store.clean()
        self._tally.shards = plan.shards
        maker = ShardMaker(
            plan, store, block_maker, self._stopwatch, self._tally.judged, self._count
        )
        try:
            await self._find_committed(store, plan)
            self._tally.enter(BuildPhase.RUNNING)
            missing = (index for index in range(plan.shards) if index not in self._shards)
            await maker.make(missing, self._options.blocks)
            if self._options.retry_failed:
                await self._retry_failed(maker)
        finally:
            store.discard()
        self._tally.enter(BuildPhase.FINALIZING)
        with self._stopwatch("finalize"):
            shards = [self._shards[index] for index in range(plan.shards)]
            summary = await to_end(self._storage.finalize, plan, shards)
        return self._result(summary)

    def _result(self, summary: Summary) -> Result:
        self._tally.enter(BuildPhase.DONE)
        progress = finished(self._tally.progress(), summary)
        return Result(self._storage.output, summary, progress, progress.notes)

    def _finished(self, recipe: Recipe) -> Summary | None:
        """The dataset, if it is here already, whole, and nothing of it is to be made again."""
        try:
            summary = self._storage.read_summary()
        except ValueError:
            return None
        here = self._storage.begun_with()
        if here is None or here.spec != recipe.spec or differences(here, recipe):
            return None
        if summary is None or summary.recipe_digest != here.digest:
            return None
        self._tally.recipe_digest = here.digest
        if self._options.retry_failed and summary.failed:
            return None
        return summary if is_intact(self._storage.output) else None

    def _note(self, text: str) -> None:
        log.warning(text)
        self._tally.notes += (text,)

    async def _find_committed(self, store: Shards, plan: Plan) -> None:
        for index in range(plan.shards):
            shard = await to_end(store.find_only, index)
            if shard is not None:
                self._shards[index] = shard
        self._tally.found(shard.manifest for shard in self._shards.values())

    async def _retry_failed(self, maker: ShardMaker) -> None:
        for shard in list(self._shards.values()):
            if shard.manifest.failed:
                await to_end(self._storage.reopen)
                await maker.make_failed_again(shard)

    def _count(self, shard: Shard) -> None:
        self._shards[shard.manifest.index] = shard
        self._tally.committed(shard.manifest)
