"""Follows the Job of a build: how far it is, why nobody works, and when there is no use in going on."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from faceloom.builds.executors.cluster import Cluster, Object
from faceloom.builds.executors.diagnosis import condition, given_up, why_failed, why_waiting
from faceloom.builds.executors.job import PER_INDEX_RETRIES, job_manifest, job_name
from faceloom.builds.executors.settings import ClusterSettings
from faceloom.builds.plan import Plan
from faceloom.builds.progress import Phase, Progress
from faceloom.builds.service.records import Order
from faceloom.builds.status import Committed
from faceloom.builds.storage.build import BuildStorage
from faceloom.core.errors import FailedPrecondition

log = logging.getLogger(__name__)

Tell = Callable[[Progress], None]
_ACTIVE, _FAILED = "status.phase!=Succeeded,status.phase!=Failed", "status.phase=Failed"


class Following:
    """A build's Job, from its creation to its end.

    Args:
        settings: What the operator decided.
        cluster: Where the Job is.
        order: What is built.
        storage: The place it lies in.
        plan: What the build was begun with.
        tell: Is told how far it is.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        cluster: Cluster,
        order: Order,
        storage: BuildStorage,
        plan: Plan,
        tell: Tell,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._settings = settings
        self._cluster = cluster
        self._order = order
        self._plan = plan
        self._tell = tell
        self._name = job_name(order)
        self._committed = Committed(storage)
        self._before: int | None = None
        self._began = time.monotonic()
        self._stalled_since: float | None = None
        self._waiting = ""
        self._most_committed = 0
        self._failures = 0

    async def to_end(self) -> None:
        """Returns when every shard is committed.

        Raises:
            FaceloomError: They will not be; the message says why.
        """
        version = await self._cluster.version()
        retries_here = version < PER_INDEX_RETRIES
        if retries_here:
            self.notes += (
                f"the API server is {version[0]}.{version[1]}: it does not count retries per shard,"
                " so the pipeline service does",
            )
        manifest = job_manifest(self._settings, self._order, self._plan.shards, version)
        job = await self._created(manifest)
        while not condition(job, "Complete"):
            committed = await self._report()
            if condition(job, "Failed"):
                failed = await self._cluster.pods(job, _FAILED)
                raise FailedPrecondition(why_failed(job, failed), reason="JOB_FAILED")
            if retries_here:
                await self._check_tries(job)
            await self._check_stalled(job, committed)
            await asyncio.sleep(self._settings.poll_seconds)
            job = await self._read()
        await self._report()

    def finalizing(self, progress: Progress) -> None:
        """What the last run tells, once it has counted what workers committed."""
        if progress.phase is not Phase.PREPARING:
            phase = Phase.DONE if progress.phase is Phase.DONE else Phase.FINALIZING
            rate = self.rate(progress.planned)
            self._tell(replace(progress, phase=phase, images_per_second=rate, notes=self.notes))

    def rate(self, planned: int) -> float:
        """Candidates committed per second since this following began."""
        elapsed = max(time.monotonic() - self._began, 1e-6)
        return (planned - (self._before if self._before is not None else planned)) / elapsed

    async def _created(self, manifest: Object) -> Object:
        """The Job, new or of the service that was here before."""
        while True:
            made = await self._cluster.create_job(manifest)
            job = made or await self._cluster.job(self._name)
            if job is not None:
                log.info("job", extra={"job": self._name, "new": made is not None})
                if ignored := sorted(manifest["spec"].keys() - job["spec"].keys()):
                    self.notes += (f"the API server does not know {', '.join(ignored)} of Jobs",)
                return job
            await asyncio.sleep(self._settings.poll_seconds)

    async def _read(self) -> Object:
        job = await self._cluster.job(self._name)
        if job is None:
            raise FailedPrecondition(
                f"somebody deleted the Job {self._name}; the same request takes the build up again",
                reason="JOB_DELETED",
            )
        return job

    async def _report(self) -> int:
        start = Progress(
            phase=Phase.RUNNING,
            shards=self._plan.shards,
            recipe_digest=self._plan.recipe.digest,
            notes=(*self.notes, self._waiting) if self._waiting else self.notes,
        )
        progress = await asyncio.to_thread(self._committed.add_to, start)
        if self._before is None:
            self._before = progress.planned
        self._tell(replace(progress, images_per_second=self.rate(progress.planned)))
        return progress.shards_committed

    async def _check_tries(self, job: Object) -> None:
        failures = job.get("status", {}).get("failed", 0)
        if failures == self._failures:
            return
        self._failures = failures
        failed = await self._cluster.pods(job, _FAILED)
        if reason := given_up(failed, self._settings.attempts):
            raise FailedPrecondition(reason, reason="JOB_FAILED")

    async def _check_stalled(self, job: Object, committed: int) -> None:
        """Asks why nobody works, when nobody does; gives up after a while."""
        if committed > self._most_committed:
            self._most_committed = committed
            self._stalled_since, self._waiting = None, ""
            return
        active = await self._cluster.pods(job, _ACTIVE)
        events = [] if active else await self._cluster.events(job)
        waiting = why_waiting(job, active, events)
        if waiting is None:
            self._stalled_since, self._waiting = None, ""
            return
        now = time.monotonic()
        if self._stalled_since is None and not waiting.hopeless:
            # Between two workers there is a moment without one.
            self._stalled_since = now
            return
        stalled = now - (self._stalled_since or now)
        if waiting.hopeless or (stalled > self._settings.stall_seconds and not waiting.queued):
            raise FailedPrecondition(waiting.reason, reason="NO_WORKER")
        self._waiting = waiting.reason
