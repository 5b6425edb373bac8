"""How far a build is, as one immutable picture for whoever watches."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from faceloom.builds.run_stats import Spent
from faceloom.builds.shard_stats import Census
from faceloom.builds.stopwatch import Stopwatch
from faceloom.datasets.manifest import Manifest
from faceloom.datasets.outcomes import Accepted, Outcome


class BuildPhase(StrEnum):
    """What a run is doing."""

    PREPARING = "preparing"
    RUNNING = "running"
    FINALIZING = "finalizing"
    DONE = "done"


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is.

    Args:
        phase: What the run is doing.
        planned: Candidates in committed shards.
        accepted: Of those, kept.
        rejected: Of those, refused by the quality service.
        failed: Of those, not made.
        processed: Candidates judged so far, committed or not.
        kept: Accepted so far, committed or not.
        shards_committed: Shards that count.
        shards: Shards in the plan; 0 while it is not known.
        images_per_second: Candidates judged per second since this run began.
        seconds: Where the time of this run and of all before it went, by service and for encoding,
            committing, finalizing. Parts overlap.
        retries: Calls of those runs that had to be repeated, by service.
        committed_at: When the last shard came to count, as far as this run knows, in seconds since 1970; 0
            while it knows none.
        census: What the committed candidates were like; nothing while shards were not looked at.
        recipe_digest: The recipe; empty while it is not known.
        notes: What a person should know about this run.
    """

    phase: BuildPhase = BuildPhase.PREPARING
    planned: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    processed: int = 0
    kept: int = 0
    shards_committed: int = 0
    shards: int = 0
    images_per_second: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    retries: Mapping[str, int] = field(default_factory=dict)
    committed_at: float = 0.0
    census: Census | None = None
    recipe_digest: str = ""
    notes: tuple[str, ...] = ()


class Tally:
    """Counts what a run does and tells the watcher."""

    def __init__(self, stopwatch: Stopwatch, watcher: Callable[[BuildProgress], None]) -> None:
        self.phase = BuildPhase.PREPARING
        self.shards = 0
        self.recipe_digest = ""
        self.notes: tuple[str, ...] = ()
        self.spent_before = Spent()
        self._stopwatch = stopwatch
        self._watcher = watcher
        self._committed: dict[int, Census] = {}
        self._committed_at = 0.0
        self._totals = Census()
        self._found = self._judged = self._kept = 0
        self._began = time.perf_counter()

    def enter(self, phase: BuildPhase) -> None:
        """The run goes on to something else."""
        self.phase = phase
        self.tell()

    def found(self, manifests: Iterable[Manifest]) -> None:
        """Shards of earlier runs count. The clock of this run starts now."""
        for manifest in manifests:
            self.committed(manifest)
        self._found = self._totals.planned
        self._kept = self._totals.accepted
        self._began = time.perf_counter()

    def judged(self, outcomes: Iterable[Outcome]) -> None:
        """Candidates came through."""
        for outcome in outcomes:
            self._judged += 1
            self._kept += isinstance(outcome, Accepted)
        self.tell()

    def committed(self, manifest: Manifest) -> None:
        """A shard counts, for the first time or instead of its earlier generation."""
        census = Census.of(manifest)
        self._totals = self._totals - self._committed.get(manifest.index, Census()) + census
        self._committed[manifest.index] = census
        self._committed_at = time.time()
        self.tell()

    def tell(self) -> None:
        """Shows the watcher where things stand."""
        self._watcher(self.progress())

    def progress(self) -> BuildProgress:
        """Where things stand."""
        elapsed = max(time.perf_counter() - self._began, 1e-6)
        spent = self.spent_before + Spent.by(self._stopwatch)
        return BuildProgress(
            phase=self.phase,
            planned=self._totals.planned,
            accepted=self._totals.accepted,
            rejected=self._totals.rejected,
            failed=self._totals.failed,
            processed=self._found + self._judged,
            kept=self._kept,
            shards_committed=len(self._committed),
            shards=self.shards,
            images_per_second=self._judged / elapsed,
            seconds=spent.seconds,
            retries=spent.retries,
            committed_at=self._committed_at,
            # A dataset that is found finished is not looked into.
            census=self._totals if self.shards else None,
            recipe_digest=self.recipe_digest,
            notes=self.notes,
        )
