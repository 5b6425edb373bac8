"""`python -m tests.bench.lone_front telling|silent TARGET`: a front before a TorchServe.

The silent one neither counts nor traces. `python -m tests.bench.lone_front torchserve` takes the place of a
TorchServe whose model takes no time. Each prints its port, and serves until standard input ends.
"""

import asyncio
import os
import sys
from contextlib import ExitStack
from typing import Any, Self
from unittest.mock import patch

import grpc

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.front import Front
from faceloom.runtime.service import service
from faceloom.runtime.torchserve.engine import TorchServeEngine
from faceloom.runtime.torchserve.inference_pb2 import PredictionResponse, PredictionsRequest

_SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
_ANSWER_BYTES = 12_288  # one picture of 64x64 pixels


class Nothing:
    """Takes the place of a metric, a span, or what makes them."""

    def __getattr__(self, name: str) -> Self:
        return self

    def __getitem__(self, key: object) -> Self:
        return self

    def __call__(self, *arguments: Any, **options: Any) -> Self:
        return self


class Engine(TorchServeEngine):
    """Needs no management API to know that it is there."""

    async def check(self) -> frozenset[int]:
        return frozenset({os.getpid()})


def silence() -> ExitStack:
    """No metric and no span is made inside."""
    silent = ExitStack()
    for place in ("front.FrontMetrics", "server.RpcMetrics", "interceptor.begin_answer"):
        silent.enter_context(patch(f"faceloom.runtime.{place}", Nothing()))
    for place in ("interceptor.end_answer", "admission.begin_inside"):
        silent.enter_context(patch(f"faceloom.runtime.{place}", Nothing()))
    silent.enter_context(patch("faceloom.runtime.admission.current_parent", lambda: ""))
    return silent


async def serve_front(kind: str, target: str) -> None:
    with silence() if kind == "silent" else ExitStack():
        front = Front(service("generator"), Engine("generator", target, ""), "127.0.0.1:0")
        await front.start()
        print(front.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await front.stop()


async def serve_torchserve() -> None:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        _answer, PredictionsRequest.FromString, PredictionResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"Predictions": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


async def _answer(request: PredictionsRequest, context: Any) -> PredictionResponse:
    batch = engine_pb2.EngineBatch.FromString(request.input["batch"])
    # A warm-up, which is empty, asks which model it is.
    results = [
        engine_pb2.EngineResult(response=bytes(_ANSWER_BYTES if call.request else 0))
        for call in batch.calls
    ]
    answer = engine_pb2.EngineBatchResult(results=results)
    return PredictionResponse(prediction=answer.SerializeToString())


if __name__ == "__main__":
    asyncio.run(
        serve_front(*sys.argv[1:]) if sys.argv[1:2] != ["torchserve"] else serve_torchserve()
    )
