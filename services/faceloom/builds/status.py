"""Where a build stands, read from its place alone, without asking whoever runs it."""

import time
from dataclasses import replace

from faceloom.builds.progress import BuildPhase, BuildProgress
from faceloom.builds.run_stats import Records
from faceloom.builds.shard_stats import Census
from faceloom.builds.storage.build import BuildStorage
from faceloom.builds.storage.open import open_build
from faceloom.core.errors import FaceloomError
from faceloom.datasets.place import Output
from faceloom.datasets.summary import Summary


def read_standing(output: Output) -> tuple[BuildProgress, Summary | None]:
    """The counts of committed shards, or of the whole dataset with its summary once it is finished.

    Hashes are not verified; `verify` and the next run do that.
    """
    try:
        storage = open_build(output)
        plan = storage.read_plan()
        summary = storage.read_summary()
    except (FaceloomError, ValueError):
        return BuildProgress(), None
    progress = BuildProgress()
    if plan is not None:
        progress = replace(progress, shards=plan.shards, recipe_digest=plan.recipe.digest)
    if summary is not None:
        return finished(replace(progress, shards_committed=progress.shards), summary), summary
    return Committed(storage).add_to(progress), None


class Committed:
    """Counts the shards that others commit, and what they spent; every file is read once."""

    def __init__(self, storage: BuildStorage) -> None:
        self._storage = storage
        self._counts: dict[int, Census] = {}
        self._totals = Census()
        self._last_at = 0.0
        self._read: set[str] = set()
        self._spent = Records(storage)

    def add_to(self, progress: BuildProgress) -> BuildProgress:
        """The progress with what is committed by now."""
        for index, shard in self._storage.committed().items():
            if shard not in self._read:
                try:
                    manifest = self._storage.read_manifest(shard)
                except (OSError, ValueError):
                    continue
                census = Census.of(manifest)
                self._totals = self._totals - self._counts.get(index, Census()) + census
                self._counts[index] = census
                self._last_at = time.time()
                self._read.add(shard)
        totals, spent = self._totals, self._spent.total()
        return replace(
            progress,
            planned=totals.planned,
            accepted=totals.accepted,
            rejected=totals.rejected,
            failed=totals.failed,
            processed=totals.planned,
            kept=totals.accepted,
            shards_committed=len(self._counts),
            seconds=spent.seconds,
            retries=spent.retries,
            committed_at=self._last_at,
            census=totals,
        )


def finished(progress: BuildProgress, summary: Summary) -> BuildProgress:
    """The last progress of a build: what its summary says."""
    return replace(
        progress,
        phase=BuildPhase.DONE,
        planned=summary.planned,
        accepted=summary.accepted,
        rejected=summary.rejected,
        failed=summary.failed,
        processed=summary.planned,
        kept=summary.accepted,
        recipe_digest=summary.recipe_digest,
    )
