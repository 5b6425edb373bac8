"""Makes builds as Indexed Jobs: a worker pod makes each shard, and the dataset is put together here.

The service may be restarted at any moment: the Job's name follows from the build, and what is committed lies
in the build's folder. A Job that ended is deleted only after its end was told.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from faceloom.builds.cancellation import one_cause, to_end
from faceloom.builds.discovery import probe
from faceloom.builds.executors.cluster import Cluster
from faceloom.builds.executors.job import job_name
from faceloom.builds.executors.job_watcher import Following, Tell
from faceloom.builds.executors.settings import ClusterSettings
from faceloom.builds.options import Options
from faceloom.builds.plan import Plan
from faceloom.builds.retrying import PATIENT_WITH_PODS, Patience
from faceloom.builds.run import Result, run_build
from faceloom.builds.run_stats import record
from faceloom.builds.service.records import Order
from faceloom.builds.stages import SERVICES, patient_services
from faceloom.builds.stopwatch import Stopwatch
from faceloom.builds.storage.build import BuildStorage
from faceloom.builds.storage.folder import FolderInUse
from faceloom.builds.storage.open import open_build
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FaceloomError, InvalidArgument

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KubernetesExecutor:
    """See `Executor`.

    Args:
        settings: What the operator decided.
        cluster: Where Jobs are made.
        faceloom: The model services.
        patience: How long to wait for those before a build is begun: whoever ordered it waits, too.
        turn: One dataset after the other is put together.
    """

    settings: ClusterSettings
    cluster: Cluster
    faceloom: Faceloom
    patience: Patience = field(default_factory=Patience)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, order: Order, on_progress: Tell) -> Result:
        """Plans, has workers make the shards, and puts the dataset together."""
        try:
            return await self._run(order, on_progress)
        except FaceloomError as error:
            await self._let_go(order)
            await self._announce(order, str(error))
            raise

    async def withdraw(self, order: Order) -> None:
        """Deletes the Job."""
        await self.cluster.delete_job(job_name(order))

    async def _run(self, order: Order, on_progress: Tell) -> Result:
        data = self.settings.data_path
        if isinstance(order.output, Path) and not order.output.is_relative_to(data):
            raise InvalidArgument(
                f"workers see {data} alone; give an output below it",
                field="output",
            )
        storage = open_build(order.output)
        plan = await self._plan(order, storage)
        following = Following(self.settings, self.cluster, order, storage, plan, on_progress)
        if order.retry_failed or len(await to_end(storage.committed)) < plan.shards:
            await following.to_end()
        result = await self._put_together(order, following.finalizing)
        await self._let_go(order)
        progress = replace(
            result.progress,
            images_per_second=following.rate(result.progress.planned),
            notes=(*following.notes, *result.notes),
        )
        return replace(result, progress=progress)

    async def _put_together(self, order: Order, tell: Tell) -> Result:
        # Its shards are made: worth as long a wait as a worker's.
        options = Options(order.jobs, order.shards, patience=PATIENT_WITH_PODS)
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
        """Deletes the Job of a build that ended. If that fails, its time to live does it."""
        try:
            await self.withdraw(order)
        except FaceloomError as error:
            log.warning("a Job is left", extra={"job": job_name(order), "cause": str(error)})

    async def _announce(self, order: Order, error: str) -> None:
        """Puts why a build failed among the namespace's events, where an operator looks first."""
        try:
            await self.cluster.warn(job_name(order), "BuildFailed", error)
        except FaceloomError as untold:
            log.warning("an event is missing", extra={"job": job_name(order), "cause": str(untold)})

    async def _plan(self, order: Order, storage: BuildStorage) -> Plan:
        await to_end(storage.check)
        if await self.cluster.job(job_name(order)) and (plan := await to_end(storage.read_plan)):
            # The service before this one planned it; its workers know themselves how to wait for models.
            return plan
        stopwatch = Stopwatch(SERVICES)
        services = patient_services(1, self.patience, stopwatch)
        with one_cause(order.output):
            found = await probe(order.spec, self.faceloom, services)
            with storage.lock(shared=True):
                plan = await to_end(storage.take_up, found.recipe, order.shards)
                await record(storage, stopwatch)
                return plan
