"""Runs a handler on the calls of a batch.

`run_batch` sorts the samples of many calls by what may be computed together, feeds the network in chunks of
one fixed size, and gives each call its own answer or its own error.

The chunk size is fixed, and short chunks are padded, because CPU kernels choose their blocking by batch size:
the same sample computed in a batch of 1 and of 16 can differ in its last bits. So answers are deterministic
(batch-invariant) under dynamic batching.
"""

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError, Message

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    Overloaded,
    ServiceError,
    TooLarge,
)
from faceloom.core.tracing import record_batch
from faceloom.runtime.handler import AnyHandler, Work
from faceloom.runtime.service import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

Waits: TypeAlias = Callable[[int], bool]

# Not an RPC: a front sends it to see that the engine computes, and to learn which model it holds.
WARM_UP = "WarmUp"


@dataclass
class _Call:
    """One call of a batch on its way to an answer."""

    proto: engine_pb2.EngineCall
    request: Message
    work: Work[Any]
    outputs: list[Any]


def everybody_waits(index: int) -> bool:
    """For engines that do not know who has given up."""
    return True


def run_batch(
    handler: AnyHandler, batch: engine_pb2.EngineBatch, waits: Waits = everybody_waits
) -> engine_pb2.EngineBatchResult:
    """Answers every call of a batch. Never raises for what is in it.

    Args:
        handler: Computes.
        batch: The calls. One whose deadline passes stops at the end of a chunk.
        waits: Whether anybody still waits for the call of that index; one that is given up stops likewise.
    """
    started, times = time.perf_counter(), [time.time_ns()]
    results: list[engine_pb2.EngineResult | None] = [None] * len(batch.calls)
    ready: dict[int, _Call] = {}
    for index, proto in enumerate(batch.calls):
        try:
            if proto.method == WARM_UP:
                results[index] = _warm_up(handler)
            else:
                ready[index] = _decode(handler, proto)
        except Exception as error:
            results[index] = _failure(error, proto)

    times.append(time.time_ns())
    for index, failed in _predict(handler, ready, waits).items():
        results[index] = _failure(failed, batch.calls[index])

    times.append(time.time_ns())
    for index, call in ready.items():
        if results[index] is None:
            try:
                results[index] = _encode(handler, call)
            except Exception as error:
                results[index] = _failure(error, call.proto)
    times.append(time.time_ns())
    answered = [result for result in results if result is not None]
    record_batch(handler.service.name, batch, answered, times)
    seconds = time.perf_counter() - started
    return engine_pb2.EngineBatchResult(results=answered, seconds=seconds)


def _warm_up(handler: AnyHandler) -> engine_pb2.EngineResult:
    """The model, if what is loaded computes; else the first error."""
    requests = [request.SerializeToString() for request in handler.warm_up_requests()]
    calls = [engine_pb2.EngineCall(request=request) for request in requests]
    for result in run_batch(handler, engine_pb2.EngineBatch(calls=calls)).results:
        if result.WhichOneof("outcome") == "error":
            return result
    return engine_pb2.EngineResult(response=handler.model.SerializeToString())


def _expired(proto: engine_pb2.EngineCall) -> bool:
    deadline = proto.deadline
    return bool(deadline.seconds) and time.time() >= deadline.seconds + deadline.nanos / 1e9


def _decode(handler: AnyHandler, proto: engine_pb2.EngineCall) -> _Call:
    if _expired(proto):
        raise DeadlineExceeded("the deadline passed before the work began")
    try:
        request = handler.request_type.FromString(proto.request)
    except DecodeError:
        raise InvalidArgument(
            f"not a {handler.request_type.DESCRIPTOR.full_name}", field="(message)"
        ) from None
    work = handler.decode(request)
    return _Call(proto, request, work, [None] * len(work.samples))


def _encode(handler: AnyHandler, call: _Call) -> engine_pb2.EngineResult:
    encoded = handler.encode(call.request, call.outputs).SerializeToString()
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise TooLarge(
            f"the answer is {len(encoded)} bytes, over the limit of {MAX_MESSAGE_BYTES};"
            " ask for fewer items or a compressed output_format"
        )
    return engine_pb2.EngineResult(response=encoded)


def _predict(handler: AnyHandler, calls: dict[int, _Call], waits: Waits) -> dict[int, Exception]:
    """Fills in the outputs of all calls; answers with the errors of those that failed."""
    groups: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for index, call in calls.items():
        for position in range(len(call.work.samples)):
            groups[call.work.key].append((index, position))

    errors: dict[int, Exception] = {}
    size = handler.compute_batch
    for key, places in groups.items():
        while places := _alive(places, calls, errors, waits):
            chunk, places = places[:size], places[size:]
            try:
                _predict_chunk(handler, key, chunk, calls)
            except Exception as error:
                _predict_apart(handler, key, chunk, calls, errors, error)
    return errors


def _alive(
    places: list[tuple[int, int]],
    calls: dict[int, _Call],
    errors: dict[int, Exception],
    waits: Waits,
) -> list[tuple[int, int]]:
    """The places still worth computing: not of failed calls, and not of calls nobody waits for."""
    for index in {index for index, _ in places} - errors.keys():
        if _expired(calls[index].proto):
            errors[index] = DeadlineExceeded("the deadline passed before the work was done")
        elif not waits(index):
            errors[index] = DeadlineExceeded("nobody waits for the answer any more")
    return [place for place in places if place[0] not in errors]


def _predict_chunk(
    handler: AnyHandler, key: Hashable, chunk: list[tuple[int, int]], calls: dict[int, _Call]
) -> None:
    samples = [calls[index].work.samples[position] for index, position in chunk]
    padding = [samples[-1]] * (handler.compute_batch - len(samples))
    outputs = handler.predict(key, samples + padding)
    for (index, position), output in zip(chunk, outputs, strict=False):
        calls[index].outputs[position] = output


def _predict_apart(
    handler: AnyHandler,
    key: Hashable,
    chunk: list[tuple[int, int]],
    calls: dict[int, _Call],
    errors: dict[int, Exception],
    error: Exception,
) -> None:
    """A chunk failed: computes it again call by call, so that only the guilty one fails."""
    owners = sorted({index for index, _ in chunk})
    if len(owners) == 1:
        errors[owners[0]] = error
        return
    for owner in owners:
        try:
            _predict_chunk(handler, key, [place for place in chunk if place[0] == owner], calls)
        except Exception as own_error:
            errors[owner] = own_error


def _failure(error: Exception, proto: engine_pb2.EngineCall) -> engine_pb2.EngineResult:
    known = error if isinstance(error, ServiceError) else _translate(error, proto)
    return engine_pb2.EngineResult(error=known.to_status().SerializeToString())


def _translate(error: Exception, proto: engine_pb2.EngineCall) -> ServiceError:
    if type(error).__name__ == "OutOfMemoryError":
        return Overloaded("the GPU is out of memory", reason="GPU_OOM", retry_after=1)
    error_id = uuid.uuid4().hex[:12]
    log.error(
        "handler failed",
        exc_info=error,
        extra={"error_id": error_id, "request_id": proto.request_id},
    )
    return Internal(f"the model failed; see error {error_id} in the engine's log", reason="BUG")
