"""The workers of a build that is made elsewhere, and how they are followed to its end."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from faceloom.builds.plan import Plan
from faceloom.builds.progress import BuildPhase, BuildProgress
from faceloom.builds.status import Committed
from faceloom.builds.storage.build import BuildStorage
from faceloom.core.errors import FaceloomError, FailedPrecondition

Tell = Callable[[BuildProgress], None]


@dataclass(frozen=True)
class PendingReason:
    """Why no worker runs.

    Args:
        reason: In a line.
        hopeless: It will not pass by waiting.
        queued: It is meant to wait, however long.
    """

    reason: str
    hopeless: bool = False
    queued: bool = False


class Workers(ABC):
    """The workers of one build.

    Attributes:
        notes: What a person should know about them.
    """

    notes: tuple[str, ...] = ()

    @abstractmethod
    async def done(self) -> bool:
        """Whether they made every shard.

        Raises:
            FaceloomError: They will not; the message says why.
        """

    async def why_waiting(self) -> PendingReason | None:
        """Why none of them works; nothing when one does. Asked while no shard is committed."""
        return None


class Following:
    """How far a build is that workers make, as its place says.

    Args:
        storage: The place.
        plan: What the build was begun with.
        tell: Is told how far it is.
        poll_seconds: How often workers are looked at.
        stall_seconds: How long none of them may work before the build fails with the reason.
    """

    def __init__(
        self,
        storage: BuildStorage,
        plan: Plan,
        tell: Tell,
        poll_seconds: float,
        stall_seconds: float,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._plan = plan
        self._tell = tell
        self._poll_seconds = poll_seconds
        self._stall_seconds = stall_seconds
        self._committed = Committed(storage)
        self._before: int | None = None
        self._began = time.monotonic()
        self._stalled_since: float | None = None
        self._waiting = ""
        self._most_committed = 0

    async def to_end(self, workers: Workers) -> None:
        """Returns when every shard is committed.

        Raises:
            FaceloomError: They will not be; the message says why.
        """
        self.notes = workers.notes
        try:
            while not await workers.done():
                await self._check_stalled(workers, await self._report())
                await asyncio.sleep(self._poll_seconds)
        except FaceloomError:
            # What was spent is told of a build that failed, too.
            await self._report()
            raise
        await self._report()

    def finalizing(self, progress: BuildProgress) -> None:
        """What the last run tells, once it has counted what workers committed."""
        if progress.phase is not BuildPhase.PREPARING:
            phase = BuildPhase.DONE if progress.phase is BuildPhase.DONE else BuildPhase.FINALIZING
            rate = self.rate(progress.planned)
            self._tell(replace(progress, phase=phase, images_per_second=rate, notes=self.notes))

    def rate(self, planned: int) -> float:
        """Candidates committed per second since this following began."""
        elapsed = max(time.monotonic() - self._began, 1e-6)
        return (planned - (self._before if self._before is not None else planned)) / elapsed

    async def _report(self) -> int:
        start = BuildProgress(
            phase=BuildPhase.RUNNING,
            shards=self._plan.shards,
            recipe_digest=self._plan.recipe.digest,
            notes=(*self.notes, self._waiting) if self._waiting else self.notes,
        )
        progress = await asyncio.to_thread(self._committed.add_to, start)
        if self._before is None:
            self._before = progress.planned
        self._tell(replace(progress, images_per_second=self.rate(progress.planned)))
        return progress.shards_committed

    async def _check_stalled(self, workers: Workers, committed: int) -> None:
        """Asks why nobody works, when nobody does; gives up after a while."""
        progressed = committed > self._most_committed
        self._most_committed = max(self._most_committed, committed)
        waiting = None if progressed else await workers.why_waiting()
        if waiting is None:
            self._stalled_since, self._waiting = None, ""
            return
        now = time.monotonic()
        if self._stalled_since is None and not waiting.hopeless:
            # Between two workers there is a moment without one.
            self._stalled_since = now
            return
        stalled = now - (self._stalled_since or now)
        if waiting.hopeless or (stalled > self._stall_seconds and not waiting.queued):
            raise FailedPrecondition(waiting.reason, reason="NO_WORKER")
        self._waiting = waiting.reason
