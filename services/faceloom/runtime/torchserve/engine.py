"""Calls a model in TorchServe over loopback gRPC, and says what TorchServe's answers really mean.

TorchServe's status codes do not say what happened: a full queue is INTERNAL, a bug in a handler is
UNAVAILABLE, an oversized message is CANCELLED. `translate` is the table of what each of them is.
"""

import asyncio
import json
from http.client import HTTPException

import grpc

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import (
    FailedPrecondition,
    Internal,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.core.proxies import channel_options, open_url
from faceloom.runtime.admission import WORKER_DIED
from faceloom.runtime.batch import Waits, everybody_waits
from faceloom.runtime.torchserve.inference_pb2 import PredictionResponse, PredictionsRequest

_PREDICTIONS = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # TorchServe is on this machine: look for it often while it restarts.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# A front's own deadlines are shorter; this one only ends a wait for a TorchServe that hangs.
_LONGEST_SECONDS = 300


class TorchServeEngine:
    """One model of one TorchServe.

    Args:
        model: Its name in TorchServe.
        target: TorchServe's gRPC inference address.
        management: URL of its management address.
        workers: How many worker processes the model has.
    """

    def __init__(self, model: str, target: str, management: str, workers: int = 1) -> None:
        self._model = model
        self._url = f"{management}/models/{model}"
        self._channel = grpc.aio.insecure_channel(target, [*_OPTIONS, *channel_options(target)])
        self._predict = self._channel.unary_unary(
            _PREDICTIONS, PredictionsRequest.SerializeToString, PredictionResponse.FromString
        )
        # One batch per worker, and one more that a worker finds ready when it is done.
        self.workers, self.slots = workers, workers + 1

    async def predict(
        self, batch: engine_pb2.EngineBatch, waits: Waits = everybody_waits
    ) -> engine_pb2.EngineBatchResult:
        """See `Engine`. TorchServe tells its workers nothing of a call that was begun: they know the calls'
        deadlines, and not who has given up."""
        request = PredictionsRequest(
            model_name=self._model, input={"batch": batch.SerializeToString()}
        )
        try:
            response = await self._predict(request, timeout=_LONGEST_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise translate(error.code(), error.details() or "") from None
        return engine_pb2.EngineBatchResult.FromString(response.prediction)

    async def check(self) -> frozenset[int]:
        try:
            workers = await asyncio.to_thread(self._workers)
        except (OSError, ValueError, LookupError, TypeError, HTTPException) as error:
            raise Unavailable(f"TorchServe does not answer: {error}") from None
        if not workers:
            raise Unavailable(f"no worker of {self._model} is ready")
        return workers

    async def close(self) -> None:
        await self._channel.close()

    def _workers(self) -> frozenset[int]:
        """The pids of those that are ready."""
        with open_url(self._url, timeout=5) as answer:
            description = json.load(answer)
        workers = description[0]["workers"]
        return frozenset(worker["pid"] for worker in workers if worker["status"] == "READY")


def translate(code: grpc.StatusCode, details: str) -> ServiceError:
    """What a failure of TorchServe 0.12 means."""
    status = grpc.StatusCode
    if "has no worker to serve" in details:
        return Overloaded("the engine's queue is full", reason="ENGINE_QUEUE_FULL", retry_after=1)
    if "Worker died" in details:
        return Unavailable(
            "the model's worker died and is being restarted", reason=WORKER_DIED, retry_after=5
        )
    if "Out of resources" in details:
        return Overloaded("the GPU is out of memory", reason="GPU_OOM", retry_after=1)
    if "Model not found" in details:
        return FailedPrecondition("the model is not loaded", reason="MODEL_NOT_LOADED")
    if code is status.UNAVAILABLE and "Prediction failed" in details:
        return Internal("the model's handler failed", reason="HANDLER_BUG")
    if code is status.CANCELLED and "RST_STREAM" in details:
        return TooLarge("the engine refused the size of the message")
    if code is status.PERMISSION_DENIED:
        return Internal("the engine wants a token", reason="ENGINE_AUTH")
    if code in (status.UNAVAILABLE, status.DEADLINE_EXCEEDED):
        return Unavailable("the engine does not answer", reason="ENGINE_DOWN", retry_after=2)
    return Internal("the engine failed", reason="ENGINE_ERROR")
