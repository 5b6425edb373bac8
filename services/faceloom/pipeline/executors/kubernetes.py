"""Makes builds as Indexed Jobs: a worker pod makes each shard, and the dataset is put together here.

The service may be restarted at any moment: the Job's name follows from the build, and what is committed lies
in the build's folder. A Job that ended is deleted only after its end was told.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from faceloom.client import Faceloom
from faceloom.pipeline.builds import Order
from faceloom.pipeline.calls import Patience
from faceloom.pipeline.cancellation import one_cause, to_end
from faceloom.pipeline.executors.cluster import Cluster, Object
from faceloom.pipeline.executors.diagnosis import condition, given_up, why_failed, why_waiting
from faceloom.pipeline.executors.job import PER_INDEX_RETRIES, job_manifest, job_name
from faceloom.pipeline.executors.settings import ClusterSettings
from faceloom.pipeline.folder import FolderInUse
from faceloom.pipeline.probe import probe
from faceloom.pipeline.progress import Phase, Progress
from faceloom.pipeline.run import Options, Result, run_build
from faceloom.pipeline.stages import SERVICES, patient_services
from faceloom.pipeline.standing import Committed
from faceloom.pipeline.stopwatch import Stopwatch
from faceloom.pipeline.storage.build import BuildStorage, RecordedPlan
from faceloom.pipeline.storage.opening import open_build
from faceloom.runtime.errors import FaceloomError, FailedPrecondition, InvalidArgument

log = logging.getLogger(__name__)

Tell = Callable[[Progress], None]
_ACTIVE, _FAILED = "status.phase!=Succeeded,status.phase!=Failed", "status.phase=Failed"


@dataclass(frozen=True)
class KubernetesExecutor:
    """See `Executor`.

    Args:
        settings: What the operator decided.
        cluster: Where Jobs are made.
        faceloom: The model services.
        patience: How long to wait for those.
        turn: One dataset after the other is put together.
    """

    settings: ClusterSettings
    cluster: Cluster
    faceloom: Faceloom
    patience: Patience = field(default_factory=Patience)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, order: Order, on_progress: Tell) -> Result:
        """Plans, has workers make the shards, and puts the dataset together."""
        data = self.settings.data_path
        if isinstance(order.output, Path) and not order.output.is_relative_to(data):
            raise InvalidArgument(
                f"workers see {data} alone; give an output below it",
                field="output",
            )
        storage = open_build(order.output)
        plan = await self._plan(order, storage)
        following = _Following(self, order, storage, plan, on_progress)
        if order.retry_failed or len(await to_end(storage.committed)) < plan.shards:
            try:
                await following.to_end()
            except FaceloomError:
                await self._let_go(order)
                raise
        result = await self._put_together(order, following.finalizing)
        await self._let_go(order)
        progress = replace(
            result.progress,
            images_per_second=following.rate(result.progress.planned),
            notes=(*following.notes, *result.notes),
        )
        return replace(result, progress=progress)

    async def withdraw(self, order: Order) -> None:
        """Deletes the Job."""
        await self.cluster.delete_job(job_name(order))

    async def _put_together(self, order: Order, tell: Tell) -> Result:
        options = Options(order.jobs, order.shards, patience=self.patience)
        give_up = time.monotonic() + self.settings.stall_seconds
        async with self.turn:
            while True:
                try:
                    return await run_build(order.spec, order.output, self.faceloom, options, tell)
                except FolderInUse:
                    # A worker that the cluster has given up, with its node, may still be at it.
                    if time.monotonic() > give_up:
                        raise
                await asyncio.sleep(self.settings.poll_seconds)

    async def _let_go(self, order: Order) -> None:
        """Deletes a Job whose end is known. If that fails, its time to live does it."""
        try:
            await self.withdraw(order)
        except FaceloomError as error:
            log.warning("a Job is left", extra={"job": job_name(order), "cause": str(error)})

    async def _plan(self, order: Order, storage: BuildStorage) -> RecordedPlan:
        await to_end(storage.check)
        services = patient_services(1, self.patience, Stopwatch(SERVICES))
        with one_cause(order.output):
            found = await probe(order.spec, self.faceloom, services)
            with storage.lock(shared=True):
                return await to_end(storage.take_up, found.recipe, order.shards)


class _Following:
    """A build's Job, from its creation to its end."""

    def __init__(
        self,
        executor: KubernetesExecutor,
        order: Order,
        storage: BuildStorage,
        plan: RecordedPlan,
        tell: Tell,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._settings = executor.settings
        self._cluster = executor.cluster
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
            if job is not None and not job["metadata"].get("deletionTimestamp"):
                log.info("job", extra={"job": self._name, "new": made is not None})
                if ignored := sorted(manifest["spec"].keys() - job["spec"].keys()):
                    self.notes += (f"the API server does not know {', '.join(ignored)} of Jobs",)
                return job
            await asyncio.sleep(self._settings.poll_seconds)

    async def _read(self) -> Object:
        job = await self._cluster.job(self._name)
        if job is None or job["metadata"].get("deletionTimestamp"):
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
