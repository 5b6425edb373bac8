"""Where a build stands, read from its folder alone, without asking whoever runs it."""

import time
from dataclasses import replace
from pathlib import Path

from faceloom.pipeline.census import Census
from faceloom.pipeline.commit import newest_generations
from faceloom.pipeline.finalize import Summary, read_summary
from faceloom.pipeline.folder import BuildFolder
from faceloom.pipeline.manifest import MANIFEST, Manifest
from faceloom.pipeline.progress import Phase, Progress
from faceloom.runtime.errors import UsageError


def read_standing(output: Path) -> tuple[Progress, Summary | None]:
    """The counts of committed shards, or of the whole dataset with its summary once it is finished.

    Hashes are not verified; `verify` and the next run do that.
    """
    folder = BuildFolder(output)
    try:
        plan = folder.read_plan()
        summary = read_summary(output)
    except (UsageError, ValueError):
        return Progress(), None
    progress = Progress()
    if plan is not None:
        progress = replace(progress, shards=plan.shards, recipe_digest=plan.recipe.digest)
    if summary is not None:
        return finished(replace(progress, shards_committed=progress.shards), summary), summary
    return Committed(folder).add_to(progress), None


class Committed:
    """Counts the shards that others commit; every manifest is read once."""

    def __init__(self, folder: BuildFolder) -> None:
        self._shards = folder.shards
        self._counts: dict[int, Census] = {}
        self._totals = Census()
        self._last_at = 0.0
        self._read: set[Path] = set()

    def add_to(self, progress: Progress) -> Progress:
        """The progress with what is committed by now."""
        for index, shard in newest_generations(self._shards).items():
            if shard not in self._read:
                try:
                    manifest = Manifest.from_bytes((shard / MANIFEST).read_bytes())
                except (OSError, ValueError):
                    continue
                census = Census.of(manifest)
                self._totals = self._totals - self._counts.get(index, Census()) + census
                self._counts[index] = census
                self._last_at = time.time()
                self._read.add(shard)
        totals = self._totals
        return replace(
            progress,
            planned=totals.planned,
            accepted=totals.accepted,
            rejected=totals.rejected,
            failed=totals.failed,
            processed=totals.planned,
            kept=totals.accepted,
            shards_committed=len(self._counts),
            committed_at=self._last_at,
            census=totals,
        )


def finished(progress: Progress, summary: Summary) -> Progress:
    """The last progress of a build: what its summary says."""
    return replace(
        progress,
        phase=Phase.DONE,
        planned=summary.planned,
        accepted=summary.accepted,
        rejected=summary.rejected,
        failed=summary.failed,
        processed=summary.planned,
        kept=summary.accepted,
        recipe_digest=summary.recipe_digest,
    )
