"""What a model author writes, and how it is run.

A handler has four verbs: `load` the model, `decode` one request into samples, `predict` samples, `encode`
outputs into one response. `run_batch` does the rest for every engine alike: it sorts the samples of many
calls by what may be computed together, feeds the network in chunks of one fixed size, and gives each call
its own answer or its own error.

The chunk size is fixed, and short chunks are padded, because CPU kernels choose their blocking by batch
size: the same sample computed in a batch of 1 and of 16 can differ in its last bits.
"""

import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from faceloom.common.v1 import engine_pb2, model_pb2
from faceloom.runtime.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Overloaded,
    ServiceError,
    TooLarge,
)
from faceloom.runtime.service import MAX_MESSAGE_BYTES, Service

log = logging.getLogger(__name__)

Req = TypeVar("Req", bound=Message)
S = TypeVar("S")
Out = TypeVar("Out")

# Not an RPC: a front sends it to see that the engine computes, and to learn which model it holds.
WARM_UP = "WarmUp"


@dataclass(frozen=True)
class Work(Generic[S]):
    """One decoded request: samples, and what must be equal for samples to share a chunk."""

    samples: Sequence[S]
    key: Hashable = None


class Handler(ABC, Generic[Req, S, Out]):
    """One model behind one RPC. All verbs are called from one thread at a time."""

    request_type: ClassVar[type[Message]]

    def __init__(self, service: Service) -> None:
        self.service = service
        self.model = model_pb2.ModelInfo()

    @abstractmethod
    def load(self, folder: Path, device: str) -> None:
        """Reads the model in `folder` onto `device` (`cpu` or `cuda:N`) and fills `self.model`."""

    @abstractmethod
    def decode(self, request: Req) -> Work[S]:
        """Checks one request and turns it into samples.

        Raises:
            InvalidArgument: Names the field that is wrong.
        """

    @abstractmethod
    def predict(self, key: Hashable, samples: Sequence[S]) -> Sequence[Out]:
        """One output per sample; there are always `compute_batch` of them."""

    @abstractmethod
    def encode(self, request: Req, outputs: Sequence[Out]) -> Message:
        """The response to one request."""

    @abstractmethod
    def sample_request(self) -> Req:
        """The smallest request, for warming up."""

    @property
    def compute_batch(self) -> int:
        """How many samples `predict` gets, always, on the device the model is loaded on."""
        sizes = self.service.compute_batch
        return sizes.cuda if self.model.device == "cuda" else sizes.cpu

    def check_version(self, wanted: str) -> None:
        """Refuses a request for another version of the model.

        Raises:
            FailedPrecondition: `wanted` is set and is not the version loaded.
        """
        if wanted and wanted != self.model.version:
            raise FailedPrecondition(
                f"model_version {wanted!r} is not loaded; {self.model.version!r} is",
                reason="MODEL_NOT_LOADED",
                field="model_version",
            )

    def check_count(self, field: str, count: int) -> None:
        """Refuses an empty or an overlong list.

        Raises:
            InvalidArgument: Names the field and the limit.
        """
        if not 1 <= count <= self.service.max_items:
            raise InvalidArgument(
                f"{field} has {count} items; give 1 to {self.service.max_items}", field=field
            )


AnyHandler: TypeAlias = Handler[Any, Any, Any]


@dataclass
class _Call:
    """One call of a batch on its way to an answer."""

    proto: engine_pb2.EngineCall
    request: Message
    work: Work[Any]
    outputs: list[Any]


def run_batch(handler: AnyHandler, batch: engine_pb2.EngineBatch) -> engine_pb2.EngineBatchResult:
    """Answers every call of a batch. Never raises for what is in it."""
    started = time.perf_counter()
    results: list[engine_pb2.EngineResult | None] = [None] * len(batch.calls)
    ready: dict[int, _Call] = {}
    for index, proto in enumerate(batch.calls):
        try:
            ready[index] = _decode(handler, proto)
        except Exception as error:
            results[index] = _failure(error, proto)

    for index, failed in _predict(handler, ready).items():
        results[index] = _failure(failed, batch.calls[index])

    for index, call in ready.items():
        if results[index] is None:
            try:
                results[index] = _encode(handler, call)
            except Exception as error:
                results[index] = _failure(error, call.proto)
    return engine_pb2.EngineBatchResult(
        results=[result for result in results if result is not None],
        seconds=time.perf_counter() - started,
    )


def _expired(proto: engine_pb2.EngineCall) -> bool:
    deadline = proto.deadline
    return bool(deadline.seconds) and time.time() >= deadline.seconds + deadline.nanos / 1e9


def _decode(handler: AnyHandler, proto: engine_pb2.EngineCall) -> _Call:
    if _expired(proto):
        raise DeadlineExceeded("the deadline passed before the work began")
    request: Message
    if proto.method == WARM_UP:
        request = handler.sample_request()
    else:
        try:
            request = handler.request_type.FromString(proto.request)
        except DecodeError:
            raise InvalidArgument(
                f"not a {handler.request_type.DESCRIPTOR.full_name}", field="(message)"
            ) from None
    work = handler.decode(request)
    return _Call(proto, request, work, [None] * len(work.samples))


def _encode(handler: AnyHandler, call: _Call) -> engine_pb2.EngineResult:
    response = handler.encode(call.request, call.outputs)
    data = handler.model if call.proto.method == WARM_UP else response
    encoded = data.SerializeToString()
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise TooLarge(
            f"the answer is {len(encoded)} bytes, over the limit of {MAX_MESSAGE_BYTES};"
            " ask for fewer items or a compressed output_format"
        )
    return engine_pb2.EngineResult(response=encoded)


def _predict(handler: AnyHandler, calls: dict[int, _Call]) -> dict[int, Exception]:
    """Fills in the outputs of all calls; answers with the errors of those that failed."""
    groups: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for index, call in calls.items():
        for position in range(len(call.work.samples)):
            groups[call.work.key].append((index, position))

    errors: dict[int, Exception] = {}
    size = handler.compute_batch
    for key, places in groups.items():
        while places := _alive(places, calls, errors):
            chunk, places = places[:size], places[size:]
            try:
                _predict_chunk(handler, key, chunk, calls)
            except Exception as error:
                _predict_apart(handler, key, chunk, calls, errors, error)
    return errors


def _alive(
    places: list[tuple[int, int]], calls: dict[int, _Call], errors: dict[int, Exception]
) -> list[tuple[int, int]]:
    """The places still worth computing: not of failed calls, and not of calls nobody waits for."""
    for index in {index for index, _ in places} - errors.keys():
        if _expired(calls[index].proto):
            errors[index] = DeadlineExceeded("the deadline passed before the work was done")
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
