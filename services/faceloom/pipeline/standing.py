"""Where a build stands, read from its folder alone, without asking whoever runs it."""

from dataclasses import replace
from pathlib import Path

from faceloom.pipeline.commit import generations
from faceloom.pipeline.finalize import Summary, read_summary
from faceloom.pipeline.folder import BuildFolder
from faceloom.pipeline.manifest import MANIFEST, Manifest
from faceloom.pipeline.progress import Phase, Progress, counts_of
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
    for index in range(progress.shards):
        for shard in generations(folder.shards, index)[:1]:
            try:
                counts = counts_of(Manifest.from_bytes((shard / MANIFEST).read_bytes()))
            except (OSError, ValueError):
                continue
            progress = replace(
                progress,
                planned=progress.planned + counts["planned"],
                accepted=progress.accepted + counts["accepted"],
                rejected=progress.rejected + counts["rejected"],
                failed=progress.failed + counts["failed"],
                shards_committed=progress.shards_committed + 1,
            )
    return replace(progress, processed=progress.planned, kept=progress.accepted), None


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
