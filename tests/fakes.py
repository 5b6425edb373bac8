"""Stand-ins for what the runtime is given: a service, a handler that counts, an engine that obeys."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faceloom.common.v1 import engine_pb2, image_pb2, model_pb2
from faceloom.core.arrays import Floats
from faceloom.core.errors import InvalidArgument, ServiceError
from faceloom.generator.v1 import generator_pb2 as pb
from faceloom.runtime.batch import WARM_UP, Waits, everybody_waits
from faceloom.runtime.handler import Handler, Work
from faceloom.runtime.service import Service


def fake_service(**changes: Any) -> Service:
    """A service that borrows the generator's messages."""
    facts: dict[str, Any] = {
        "name": "fake",
        "proto": "faceloom.generator.v1.generator_pb2",
        "service": "faceloom.generator.v1.GeneratorService",
        "handler": "tests.fakes:EchoHandler",
        "port": 1,
        "max_items": 64,
        "compute_batch": {"cpu": 4, "cuda": 4},
        "max_batch": 4,
        "max_queue": 8,
        "max_seconds": 10,
        "latency_budget_ms": 10,
    }
    return Service(**facts | changes)


POISON_SEED = 666


class EchoHandler(Handler[pb.GenerateRequest, int, str]):
    """Answers every seed with `seed@psi`, which only the right sample in the right group can give.

    An empty request is refused; POISON_SEED makes `predict` fail for its whole chunk.
    """

    request_type = pb.GenerateRequest

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.model = model_pb2.ModelInfo(name="echo", version="7")
        self.chunks: list[tuple[Hashable, list[int]]] = []
        self.before_chunk: Callable[[], None] = lambda: None

    def load(self, folder: Path, device: str) -> None:
        """Nothing to load."""

    def sample_request(self) -> pb.GenerateRequest:
        return pb.GenerateRequest(seeds=[0])

    def decode(self, request: pb.GenerateRequest) -> Work[int]:
        self.check_version(request.model_version)
        self.check_count("seeds", len(request.seeds))
        if request.noise_mode == pb.NOISE_MODE_NONE:
            raise RuntimeError("a bug in decode")
        return Work(list(request.seeds), round(request.truncation_psi, 3))

    def predict(self, key: Hashable, samples: Sequence[int]) -> Sequence[str]:
        self.before_chunk()
        self.chunks.append((key, list(samples)))
        if POISON_SEED in samples:
            raise ZeroDivisionError("a bug in predict")
        return [f"{sample}@{key}" for sample in samples]

    def outputs(self, key: Hashable, samples: Sequence[int]) -> Sequence[Floats]:
        return [np.array([sample], np.float32) for sample in samples]

    def encode(self, request: pb.GenerateRequest, outputs: Sequence[str]) -> pb.GenerateResponse:
        if request.noise_mode == pb.NOISE_MODE_RANDOM:
            raise RuntimeError("a bug in encode")
        return pb.GenerateResponse(
            faces=[
                pb.Face(seed=seed, image=image_pb2.Image(data=output.encode()))
                for seed, output in zip(request.seeds, outputs, strict=True)
            ]
        )


class FakeEngine:
    """Answers `echo:<request>`, when it is told to.

    Closed gates hold every batch until `open_gates`. `outcomes` are taken in order, one per batch: an
    exception is raised, a result is returned, None means the usual answer. A batch takes `seconds`.
    """

    def __init__(
        self, slots: int = 1, gated: bool = False, workers: int | None = None, seconds: float = 0
    ) -> None:
        self._seconds = seconds
        self.workers, self.slots = workers or slots, slots
        self.batches: list[list[bytes]] = []
        self.calls: list[engine_pb2.EngineCall] = []
        self.outcomes: list[Exception | engine_pb2.EngineBatchResult | None] = []
        self.problem: Exception | None = None
        self.pids = frozenset({1})
        self.warm_ups = 0
        self.closed = False
        self._gate = asyncio.Event()
        if not gated:
            self._gate.set()

    def open_gates(self) -> None:
        """Lets everything through from now on."""
        self._gate.set()

    async def predict(
        self, batch: engine_pb2.EngineBatch, waits: Waits = everybody_waits
    ) -> engine_pb2.EngineBatchResult:
        if [call.method for call in batch.calls] == [WARM_UP]:
            self.warm_ups += 1
            info = model_pb2.ModelInfo(name="fake", version="1").SerializeToString()
            return engine_pb2.EngineBatchResult(results=[engine_pb2.EngineResult(response=info)])
        self.batches.append([call.request for call in batch.calls])
        self.calls.extend(batch.calls)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        await self._gate.wait()
        await asyncio.sleep(self._seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or engine_pb2.EngineBatchResult(
            results=[
                engine_pb2.EngineResult(response=b"echo:" + call.request) for call in batch.calls
            ]
        )

    async def check(self) -> frozenset[int]:
        if self.problem is not None:
            raise self.problem
        return self.pids

    async def close(self) -> None:
        self.closed = True


def failed(error: ServiceError) -> engine_pb2.EngineResult:
    """The result of a call that failed alone."""
    return engine_pb2.EngineResult(error=error.to_status().SerializeToString())


def refused() -> engine_pb2.EngineResult:
    """What a handler answers to a bad request."""
    return failed(InvalidArgument("bad", field="seeds"))


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Returns as soon as the condition, which has to be asked for, holds.

    Raises:
        AssertionError: It did not hold in time.
    """
    last = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < last, "the condition did not come true in time"
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Returns as soon as the condition holds.

    Raises:
        AssertionError: It did not hold in time.
    """
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "the condition did not come true in time"
        await asyncio.sleep(0.002)
