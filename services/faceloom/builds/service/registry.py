"""The builds of one pipeline service: created once, followed, cancelled, taken up again, forgotten.

It does not know how a build is made; that is its executor's.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from faceloom import datasets
from faceloom.builds.executors.executor import Executor
from faceloom.builds.progress import BuildPhase, BuildProgress
from faceloom.builds.service.records import Build, BuildIndex, BuildOrder, BuildRecord, End, State
from faceloom.builds.status import read_standing
from faceloom.builds.storage.folder import BuildFolder
from faceloom.builds.storage.open import open_build
from faceloom.core.errors import (
    Conflict,
    FaceloomError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServiceError,
    Unavailable,
    UsageError,
)
from faceloom.core.request_id import current_request_id
from faceloom.datasets.place import Output

log = logging.getLogger(__name__)


class Builds:
    """The builds of one service.

    Args:
        index: What it remembers.
        executor: Makes them.
    """

    def __init__(self, index: BuildIndex, executor: Executor) -> None:
        self._index = index
        self._executor = executor
        self._builds: dict[str, Build] = {}
        self._stopping = False

    async def start(self) -> None:
        """Takes up every build that had not ended when the service did, oldest first.

        Raises:
            UsageError: Another service uses the index.
        """
        records = await asyncio.to_thread(self._index.open)
        for record in sorted(records, key=lambda record: record.create_time_ns):
            progress, summary = await asyncio.to_thread(read_standing, record.order.output)
            build = Build(record, progress, summary.dataset_digest if summary else "")
            self._builds[build.id] = build
            if end := record.end:
                build.progress = replace(progress, seconds=end.seconds, retries=end.retries)
            else:
                build.progress = replace(progress, phase=BuildPhase.PREPARING)
                self._begin(build)

    async def stop(self) -> None:
        """Stops working. Builds that have not ended go on when the service is started again."""
        self._stopping = True
        for build in self._builds.values():
            build.tell()
        tasks = [build.task for build in self._builds.values() if build.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._index.close()

    def create(self, order: BuildOrder) -> Build:
        """Starts a build, answers with the one this request made before, or takes that one up again.

        A build that is at work on the same thing is the answer, too, whoever asked for it.

        Raises:
            Conflict: The request_id was used for something else.
            FailedPrecondition: The output belongs to another build.
            InvalidArgument: The output cannot be used.
            Unavailable: The service is stopping.
        """
        self._check_running()
        known = self._builds.get(order.build_id)
        if known is None:
            at_work = self._at_work_on(order.output)
            if at_work and _same_work(at_work.record.order, order):
                return at_work
            self._check_output(order)
            known = Build(BuildRecord(order, time.time_ns()), BuildProgress())
            self._builds[known.id] = known
        elif known.record.order != order:
            raise Conflict(f"request_id {order.request_id!r} was used for another build")
        elif known.state in (State.FAILED, State.CANCELLED):
            self._check_output(order)
            known.record = known.record.taken_up()
            known.progress = replace(known.progress, phase=BuildPhase.PREPARING)
        else:
            return known
        self._index.put(known.record)
        self._begin(known)
        return known

    def get(self, build_id: str) -> Build:
        """The build of that id.

        Raises:
            NotFound: There is none.
        """
        try:
            return self._builds[build_id]
        except KeyError:
            raise NotFound(f"there is no build {build_id!r}", field="id") from None

    def newest_first(self) -> list[Build]:
        """All builds."""
        return sorted(self._builds.values(), key=lambda build: build.age, reverse=True)

    async def watch(self, build_id: str) -> AsyncIterator[Build]:
        """The build at once, then whenever it changed, until it has ended.

        Raises:
            NotFound: There is no such build.
            Unavailable: The service is stopping; the next one goes on with the build.
        """
        build = self.get(build_id)
        request_id = current_request_id()
        build.watchers[request_id] += 1
        try:
            while True:
                if build.record.end is None:
                    self._check_running()
                changed = build.changed
                yield build
                if build.record.end is not None and changed is build.changed:
                    return
                await changed.wait()
        finally:
            build.watchers -= Counter([request_id])

    async def cancel(self, build_id: str, unless_watched: bool = False) -> Build:
        """Stops a build, unless it has ended, or others watch it and it is to go on for them."""
        build = self.get(build_id)
        if unless_watched and build.watchers.keys() - {current_request_id()}:
            return build
        if build.record.end is None and build.task is not None:
            # Once only: the second would interrupt what the first began.
            if not build.record.cancelled:
                build.record = replace(build.record, cancelled=True)
                self._index.put(build.record)
                build.task.cancel()
            await asyncio.wait([build.task])
        return build

    async def delete(self, build_id: str, delete_files: bool) -> None:
        """Forgets an ended build, and its files if asked to.

        Raises:
            FailedPrecondition: It runs, or its files are another build's that runs.
        """
        build = self.get(build_id)
        if build.record.end is None:
            raise FailedPrecondition("the build runs; cancel it first", reason="BUILD_RUNS")
        if delete_files:
            self._check_free(build.output)
            try:
                await asyncio.to_thread(lambda: open_build(build.output).remove())
            except UsageError as error:
                raise FailedPrecondition(str(error), reason="CANNOT_DELETE") from None
        self._index.remove(build_id)
        del self._builds[build_id]

    def _check_running(self) -> None:
        if self._stopping:
            raise Unavailable("the pipeline service is stopping; come back to the next one")

    def _check_output(self, order: BuildOrder) -> None:
        self._check_free(order.output)
        if isinstance(order.pool, Path):
            try:
                datasets.open(order.pool)
            except FaceloomError as error:
                raise InvalidArgument(str(error), field="pool") from None
        if not isinstance(order.output, Path):
            # It may take a while to answer; what is wrong with it ends the build.
            return
        folder = BuildFolder(order.output)
        try:
            folder.check()
            plan = folder.read_plan()
            order.output.mkdir(parents=True, exist_ok=True)
        except UsageError as error:
            raise InvalidArgument(str(error), field="output") from None
        except OSError as error:
            raise InvalidArgument(
                f"cannot write to {order.output}: {error.strerror}", field="output"
            ) from None
        if plan is not None and not order.spec.continues(plan.recipe.spec):
            raise FailedPrecondition(
                f"{order.output} holds a build of {plan.recipe.spec}", reason="OTHER_RECIPE"
            )

    def _check_free(self, output: Output) -> None:
        if at_work := self._at_work_on(output):
            raise FailedPrecondition(
                f"build {at_work.id} is working on {output}", reason="OUTPUT_IN_USE"
            )

    def _at_work_on(self, output: Output) -> Build | None:
        for build in self._builds.values():
            if build.record.end is None and build.output == output:
                return build
        return None

    def _begin(self, build: Build) -> None:
        build.task = asyncio.create_task(self._execute(build), name=f"build {build.id}")

    async def _execute(self, build: Build) -> None:
        try:
            if not build.record.cancelled:
                await self._run(build)
        except asyncio.CancelledError:
            if not build.record.cancelled:
                raise
        except Exception as error:
            self._end(build, State.FAILED, *_why(error))
        if build.record.cancelled and build.record.end is None:
            await self._withdraw(build)

    async def _run(self, build: Build) -> None:
        def follow(progress: BuildProgress) -> None:
            if progress.phase is BuildPhase.PREPARING:
                # The run has not counted yet what is there; what was known of it stays true.
                progress = replace(build.progress, phase=progress.phase, notes=progress.notes)
            build.progress = progress
            build.tell()

        result = await self._executor.run(build.record.order, follow)
        build.dataset_digest = result.summary.dataset_digest
        build.progress = result.progress
        self._end(build, State.SUCCEEDED)

    async def _withdraw(self, build: Build) -> None:
        try:
            await self._executor.withdraw(build.record.order)
            self._end(build, State.CANCELLED)
        except Exception as error:
            told, reason = _why(error)
            told = f"it was cancelled, but goes on elsewhere: {told}"
            self._end(build, State.FAILED, told, reason)

    def _end(self, build: Build, state: State, error: str = "", reason: str = "") -> None:
        spent = build.progress.seconds, build.progress.retries
        build.record = replace(build.record, end=End(state, error, time.time_ns(), reason, *spent))
        self._index.put(build.record)
        log.info("build ended", extra={"build": build.id, "state": state.value, "cause": error})
        build.tell()


def _why(error: Exception) -> tuple[str, str]:
    """What is told of an error that ended a build: a line, and a constant."""
    if isinstance(error, FaceloomError):
        return str(error), error.reason if isinstance(error, ServiceError) else "USAGE"
    error_id = uuid.uuid4().hex[:12]
    log.error("build failed", exc_info=error, extra={"error_id": error_id})
    return f"internal error {error_id}; see the service's log", "BUG"


def _same_work(one: BuildOrder, other: BuildOrder) -> bool:
    return (one.spec, one.retry_failed) == (other.spec, other.retry_failed)
