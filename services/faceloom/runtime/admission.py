"""The queue in front of an engine: bounded, deadline-aware, and the place where calls become batches.

An idle engine gets a call at once; nobody waits for company. While the engine is busy, calls pile up, and the
next batch takes what is there, up to `max_batch` calls (dynamic batching). The batch that is to lie ready for
a busy worker has a moment to grow: it could not be begun in that moment anyway. A call whose client has gone,
or whose deadline has passed, is dropped before it costs anything. A full queue refuses at the door (load
shedding) and says when to come back. Who comes back finds places that newcomers do not get, and every second
one from the head on: calls that are sent again at once, and take every place that becomes free, keep nobody
out who waits as told.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field

from google.rpc import status_pb2
from opentelemetry.trace import Span

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    ServiceError,
    Unavailable,
    from_status,
)
from faceloom.core.tracing import begin_inside, current_parent
from faceloom.runtime.engine import Engine
from faceloom.runtime.metrics import FrontMetrics
from faceloom.runtime.service import MAX_MESSAGE_BYTES, Service

log = logging.getLogger(__name__)

WORKER_DIED = "WORKER_DIED"
_REMEMBERED_DEATHS = 1024
# Of the queue's length, the places beyond it for calls that were refused before.
_KEPT = 0.25
# Of the time that a batch takes, how much the next one may grow while all workers are busy.
_GROWTH = 0.1


@dataclass(eq=False)
class _QueuedCall:
    call: engine_pb2.EngineCall
    answer: asyncio.Future[bytes]
    span: Span
    since: float = field(default_factory=time.monotonic)
    digest: bytes = b""
    refused: bool = False

    @property
    def abandoned(self) -> bool:
        return self.answer.done()

    def leave_queue(self) -> None:
        if self.span.is_recording():
            self.span.end()


class Admission:
    """Feeds one engine."""

    def __init__(self, service: Service, engine: Engine, metrics: FrontMetrics) -> None:
        self._service = service
        self._engine = engine
        self._metrics = metrics
        self._queue: deque[_QueuedCall] = deque()
        self._arrived = asyncio.Condition()
        metrics.queue_length.set_function(lambda: len(self._queue))
        self._deaths: OrderedDict[bytes, None] = OrderedDict()
        self._batch_seconds = service.latency_budget_ms / 1000
        self._executing = 0
        self._closed = False
        self._slots = [asyncio.create_task(self._feed()) for _ in range(engine.slots)]

    async def submit(
        self, call: engine_pb2.EngineCall, timeout: float | None, refusals: int = 0
    ) -> bytes:
        """Waits for the answer to one call.

        Args:
            call: What to compute. Its deadline is set here.
            timeout: Seconds until nobody wants the answer; None if it is wanted however late.
            refusals: How often a full queue has refused it before.

        Raises:
            ServiceError: The queue is full, the deadline passed, or the call failed.
        """
        if self._closed:
            raise _stopping()
        self._drop_abandoned()
        if len(self._queue) >= self._places(refusals):
            self._metrics.refused(Overloaded.default_reason)
            raise Overloaded(
                f"{len(self._queue)} calls are waiting for the {self._service.name} engine",
                retry_after=self._wait_estimate(),
            )
        if timeout is not None:
            call.deadline.FromNanoseconds(time.time_ns() + int(timeout * 1e9))
        call.traceparent = current_parent()
        answer = asyncio.get_running_loop().create_future()
        waiting = _QueuedCall(call, answer, begin_inside("queue"), refused=refusals > 0)
        if self._deaths:
            waiting.digest = _digest(call)
        async with self._arrived:
            self._queue.insert(self._position(waiting), waiting)
            self._arrived.notify()
        try:
            async with asyncio.timeout(timeout):
                return await waiting.answer
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the answer came") from None
        finally:
            waiting.leave_queue()

    async def close(self) -> None:
        """Stops feeding. What still waits, or is being computed, is told to go elsewhere."""
        self._closed = True
        for task in self._slots:
            task.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        for waiting in self._queue:
            _settle(waiting, _stopping())
        await self._engine.close()

    async def _feed(self) -> None:
        """Keeps one slot of the engine busy."""
        while True:
            async with self._arrived:
                await self._arrived.wait_for(lambda: self._queue)
                await self._grow()
                batch = self._take()
            if batch:
                self._executing += 1
                await self._execute(batch)
                self._executing -= 1
                async with self._arrived:
                    self._arrived.notify_all()

    async def _grow(self) -> None:
        """Gives the next batch time to fill while every worker has one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GROWTH * self._batch_seconds):
                await self._arrived.wait_for(
                    lambda: (
                        self._executing < self._engine.workers
                        or len(self._queue) >= self._service.max_batch
                    )
                )

    def _take(self) -> list[_QueuedCall]:
        """The calls of the next batch: as many as fit and may share one."""
        batch: list[_QueuedCall] = []
        size = 0
        while self._queue and len(batch) < self._service.max_batch:
            waiting = self._queue[0]
            if waiting.abandoned:
                self._queue.popleft()
                continue
            size += len(waiting.call.request)
            suspect = waiting.digest in self._deaths
            if batch and (suspect or size > MAX_MESSAGE_BYTES):
                break
            batch.append(self._queue.popleft())
            if suspect:
                break
        return batch

    async def _execute(self, batch: list[_QueuedCall]) -> None:
        for waiting in batch:
            self._metrics.queue_seconds.observe(time.monotonic() - waiting.since)
            waiting.leave_queue()
        self._metrics.batch_calls.observe(len(batch))
        try:
            await self._answer(batch)
        except asyncio.CancelledError:
            for waiting in batch:
                _settle(waiting, _stopping())
            raise
        except Exception as error:
            # Nobody may be left waiting, whatever went wrong, and the slot has to go on.
            known = error if isinstance(error, ServiceError) else _unexpected(error, batch)
            self._metrics.engine_error(known.reason)
            for waiting in batch:
                _settle(waiting, self._verdict(waiting, known, alone=len(batch) == 1))

    async def _answer(self, batch: list[_QueuedCall]) -> None:
        started = time.monotonic()
        result = await self._engine.predict(
            engine_pb2.EngineBatch(calls=[waiting.call for waiting in batch]),
            lambda index: not batch[index].abandoned,
        )
        self._metrics.engine_busy.inc(result.seconds)
        self._batch_seconds += 0.2 * (time.monotonic() - started - self._batch_seconds)
        for waiting, outcome in zip(batch, result.results, strict=True):
            # It came back alive, so an earlier death was not its doing.
            self._deaths.pop(waiting.digest, None)
            if outcome.WhichOneof("outcome") == "response":
                if not waiting.abandoned:
                    waiting.answer.set_result(outcome.response)
            else:
                _settle(waiting, from_status(status_pb2.Status.FromString(outcome.error)))

    def _verdict(self, waiting: _QueuedCall, error: ServiceError, alone: bool) -> ServiceError:
        """A worker's death may be an accident, or the doing of a call. A call that was there twice, the
        second time alone, is not tried again."""
        if error.reason != WORKER_DIED:
            return error
        digest = waiting.digest or _digest(waiting.call)
        if digest in self._deaths and alone:
            return Internal("this request killed the model's worker twice", reason="POISON_INPUT")
        self._deaths[digest] = None
        if len(self._deaths) > _REMEMBERED_DEATHS:
            self._deaths.popitem(last=False)
        return error

    def _position(self, waiting: _QueuedCall) -> int:
        """A newcomer is last. Who comes back has waited elsewhere: every second place is theirs, so that
        neither kind holds up the other."""
        if not waiting.refused:
            return len(self._queue)
        return min(len(self._queue), 2 * sum(other.refused for other in self._queue))

    def _places(self, refusals: int) -> int:
        kept = math.ceil(_KEPT * self._service.max_queue) if refusals else 0
        return self._service.max_queue + kept

    def _drop_abandoned(self) -> None:
        if any(waiting.abandoned for waiting in self._queue):
            self._queue = deque(waiting for waiting in self._queue if not waiting.abandoned)

    def _wait_estimate(self) -> float:
        """Seconds until a call that was refused has a place: it may find one beyond the queue's length."""
        batches = len(self._queue) / self._service.max_batch / self._engine.slots
        if len(self._queue) < self._places(refusals=1):
            batches = min(1.0, batches)
        return max(0.05, batches * self._batch_seconds)


def _settle(waiting: _QueuedCall, error: ServiceError) -> None:
    if not waiting.abandoned:
        waiting.answer.set_exception(error)


def _stopping() -> Unavailable:
    return Unavailable("the service is stopping", reason="STOPPING")


def _unexpected(error: Exception, batch: list[_QueuedCall]) -> Internal:
    ids = [waiting.call.request_id for waiting in batch]
    log.error("engine failed", exc_info=error, extra={"request_ids": ids})
    return Internal("the engine failed; see the service's log", reason="ENGINE_ERROR")


def _digest(call: engine_pb2.EngineCall) -> bytes:
    return hashlib.sha256(call.request).digest()
