"""What executes a model behind a front: the protocol, and the engine inside this process.

TorchServe is the other engine (`faceloom.runtime.torchserve`). Both run the same handler on the same
messages, so a front, or a build, cannot tell them apart by their bytes.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from google.rpc import status_pb2

from faceloom.common.v1 import engine_pb2, model_pb2
from faceloom.core.errors import from_status
from faceloom.runtime.batch import WARM_UP, Waits, everybody_waits, run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import Service
from faceloom.runtime.versions import load_models


class Engine(Protocol):
    """Computes batches."""

    workers: int
    """How many batches it computes at a time."""

    slots: int
    """How many it takes at a time: one per worker, and for a remote engine one to go on with."""

    async def predict(
        self, batch: engine_pb2.EngineBatch, waits: Waits = everybody_waits
    ) -> engine_pb2.EngineBatchResult:
        """Answers every call of the batch.

        Args:
            batch: The calls, with their deadlines.
            waits: Whether anybody still waits for the call of that index; may be asked from another thread.

        Raises:
            ServiceError: The batch as a whole was not computed.
        """
        ...

    async def check(self) -> frozenset[int]:
        """Looks whether the engine could compute, without computing.

        Returns:
            The processes that would, by pid.

        Raises:
            Unavailable: It could not.
        """
        ...

    async def close(self) -> None:
        """Lets go of what the engine holds."""
        ...


class InProcessEngine:
    """Runs a handler in a thread of this process."""

    workers = slots = 1

    def __init__(self, handler: AnyHandler) -> None:
        self._handler = handler
        self._thread = ThreadPoolExecutor(1, f"{handler.service.name}-engine")

    @classmethod
    def load(
        cls, service: Service, models: Sequence[Path], device: str = "cpu"
    ) -> "InProcessEngine":
        """Loads the models in those folders, the default one first."""
        return cls(load_models(service, models, device))

    async def predict(
        self, batch: engine_pb2.EngineBatch, waits: Waits = everybody_waits
    ) -> engine_pb2.EngineBatchResult:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, run_batch, self._handler, batch, waits)

    async def check(self) -> frozenset[int]:
        """A thread of this process is always there."""
        return frozenset({os.getpid()})

    async def close(self) -> None:
        # What is being computed is waited for, but not by the whole process.
        await asyncio.to_thread(self._thread.shutdown, wait=True, cancel_futures=True)


async def warm_up(engine: Engine) -> model_pb2.ModelInfo:
    """Computes the smallest request end to end.

    Returns:
        The model that the engine holds.

    Raises:
        ServiceError: The engine does not compute.
    """
    batch = engine_pb2.EngineBatch(calls=[engine_pb2.EngineCall(method=WARM_UP)])
    result = (await engine.predict(batch)).results[0]
    if result.WhichOneof("outcome") == "error":
        raise from_status(status_pb2.Status.FromString(result.error))
    return model_pb2.ModelInfo.FromString(result.response)
