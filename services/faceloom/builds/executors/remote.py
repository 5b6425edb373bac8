"""What all executors share whose workers run elsewhere.

They plan a build, have workers make the shards, follow what those commit, and put the dataset together in the
service's process. A worker is `faceloom.builds.worker.work` on one shard, wherever an executor starts it.
What is committed lies in the build's place; after a restart only the workers must be found again.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from faceloom.builds.block_maker import patient_services
from faceloom.builds.cancellation import one_cause, to_end
from faceloom.builds.discovery import probe
from faceloom.builds.executors.workers import Following, Tell, Workers
from faceloom.builds.options import BuildOptions
from faceloom.builds.plan import Plan, Selection
from faceloom.builds.pool import open_selection
from faceloom.builds.retrying import PATIENT_WITH_PODS, Patience
from faceloom.builds.run import Result, run_build
from faceloom.builds.run_stats import record
from faceloom.builds.service.records import BuildOrder
from faceloom.builds.stages import services_of
from faceloom.builds.stopwatch import Stopwatch
from faceloom.builds.storage.build import BuildStorage
from faceloom.builds.storage.folder import FolderInUse
from faceloom.builds.storage.open import open_build
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FaceloomError, InvalidArgument

log = logging.getLogger(__name__)

_ARTICLE = {"output": "an output", "pool": "a pool"}


class RemoteExecutor(ABC):
    """See `Executor`.

    Args:
        faceloom: The model services.
        patience: How long to wait for those before a build is begun: whoever ordered it waits, too.
        volume: The folder that workers share with the service; nothing where they see what it sees.
        poll_seconds: How often workers are looked at.
        stall_seconds: How long none of them may work before the build fails with the reason.
    """

    def __init__(
        self,
        faceloom: Faceloom,
        patience: Patience | None = None,
        *,
        volume: Path | None = None,
        poll_seconds: float = 5.0,
        stall_seconds: float = 600.0,
    ) -> None:
        self._faceloom = faceloom
        self._patience = patience or Patience()
        self._volume = volume
        self._poll_seconds = poll_seconds
        self._stall_seconds = stall_seconds
        # One dataset after the other is put together.
        self._turn = asyncio.Lock()

    @abstractmethod
    async def start(self, order: BuildOrder, plan: Plan) -> Workers:
        """Starts a worker for every shard, or finds those that the service before this one started."""

    @abstractmethod
    async def withdraw(self, order: BuildOrder) -> None:
        """Ends the workers of a build, if it has any; see `Executor`."""

    async def started(self, order: BuildOrder) -> bool:
        """Whether the service before this one started workers, and so has planned the build."""
        return False

    async def announce(self, order: BuildOrder, error: str) -> None:
        """Tells why a build failed where an operator looks first; the log has it anyway."""
        return None

    async def run(self, order: BuildOrder, on_progress: Tell) -> Result:
        """Plans, has workers make the shards, and puts the dataset together."""
        try:
            return await self._run(order, on_progress)
        except FaceloomError as error:
            await self._let_go(order)
            try:
                await self.announce(order, str(error))
            except FaceloomError as untold:
                told = {"build": order.build_id, "cause": str(untold)}
                log.warning("a failure is not announced", extra=told)
            raise

    async def _run(self, order: BuildOrder, on_progress: Tell) -> Result:
        self._check(order)
        storage = open_build(order.output)
        plan = await self._plan(order, storage)
        following = Following(storage, plan, on_progress, self._poll_seconds, self._stall_seconds)
        if order.retry_failed or len(await to_end(storage.committed)) < plan.shards:
            await following.to_end(await self.start(order, plan))
        result = await self._put_together(order, following.finalizing)
        await self._let_go(order)
        progress = replace(
            result.progress,
            images_per_second=following.rate(result.progress.planned),
            notes=(*following.notes, *result.notes),
        )
        return replace(result, progress=progress)

    def _check(self, order: BuildOrder) -> None:
        volume = self._volume
        for field, place in (("output", order.output), ("pool", order.pool)):
            if volume and isinstance(place, Path) and not place.is_relative_to(volume):
                raise InvalidArgument(
                    f"workers see {volume} alone; give {_ARTICLE[field]} below it", field=field
                )
        if order.pool and isinstance(order.pool, Path) != isinstance(order.output, Path):
            raise InvalidArgument(
                "workers see a volume or an object store; give pool and output in the same one",
                field="pool",
            )
        if order.spec.top and not order.pool:
            raise InvalidArgument(
                "workers know no scores but their own; build a pool, then give it as pool",
                field="pool",
            )

    async def _plan(self, order: BuildOrder, storage: BuildStorage) -> Plan:
        await to_end(storage.check)
        if await self.started(order) and (plan := await to_end(storage.read_plan)):
            # These workers know themselves how to wait for models.
            return plan
        stages = order.spec.stages
        stopwatch = Stopwatch(services_of(stages))
        services = patient_services(stages, 1, self._patience, stopwatch)
        selection = Selection(str(order.pool or ""))
        with one_cause(order.output):
            found = await probe(order.spec, self._faceloom, services)
            with storage.lock(shared=True):
                opened = await to_end(open_selection, order.output, found.recipe, selection)
                plan = await to_end(storage.take_up, opened.recipe, order.shards, opened.selection)
                await record(storage, stopwatch)
                return plan

    async def _put_together(self, order: BuildOrder, tell: Tell) -> Result:
        # Its shards are made: worth as long a wait as a worker's.
        options = BuildOptions(
            order.blocks, order.shards, patience=PATIENT_WITH_PODS, pool=order.pool
        )
        give_up = time.monotonic() + self._stall_seconds
        async with self._turn:
            while True:
                try:
                    return await run_build(order.spec, order.output, self._faceloom, options, tell)
                except FolderInUse:
                    # A worker that was given up, with its machine, may still be at it.
                    if time.monotonic() > give_up:
                        raise
                await asyncio.sleep(self._poll_seconds)

    async def _let_go(self, order: BuildOrder) -> None:
        """Withdraws the workers of a build that ended."""
        try:
            await self.withdraw(order)
        except FaceloomError as error:
            told = {"build": order.build_id, "cause": str(error)}
            log.warning("workers are left", extra=told)
