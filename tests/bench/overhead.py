"""What front and TorchServe cost: the same requests through them, and in a bare loop over the handler."""

from typing import Any

import numpy as np

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.batch import run_batch
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.store.profile import model_folder
from tests.bench.turns import call_all, in_turn, latencies, rates

PAIRS = 5
CALLS = 8
IN_FLIGHT = 4
LONE_CALLS = 30


def _images(count: int) -> list[image_pb2.Image]:
    rng = np.random.default_rng(0)
    return [
        image_pb2.Image(
            format=image_pb2.IMAGE_FORMAT_RGB8, width=64, height=64, data=rng.bytes(64 * 64 * 3)
        )
        for _ in range(count)
    ]


METHODS: dict[str, tuple[str, str, Any]] = {
    "generate": (
        "generator",
        "Generate",
        lambda count: generator_pb2.GenerateRequest(seeds=range(count), truncation_psi=0.7),
    ),
    "classify": (
        "quality",
        "Classify",
        lambda count: quality_pb2.ClassifyRequest(images=_images(count)),
    ),
}


async def measure(name: str) -> dict[str, Any]:
    """Images per second at 64 a call, and the latency of a lone call with one."""
    service_name, method, request_of = METHODS[name]
    handler = service(service_name).new_handler()
    handler.load(model_folder("tiny", service_name), "cpu")
    large = request_of(64).SerializeToString()
    small = request_of(1).SerializeToString()
    caller = ChannelCaller()
    served, bare = await in_turn(
        lambda: call_all(caller, service_name, method, [large] * CALLS, IN_FLIGHT),
        lambda: _run(handler, method, large, CALLS),
        PAIRS,
    )
    lone_served, lone_bare = await in_turn(
        lambda: caller.call(service_name, method, small, 60),
        lambda: _run(handler, method, small, 1),
        LONE_CALLS,
    )
    await caller.close()
    return {
        **rates({"served": served, "bare": bare}, 64 * CALLS),
        **latencies({"served": lone_served, "bare": lone_bare}),
        "calls_in_flight": IN_FLIGHT,
    }


def _run(handler: AnyHandler, method: str, request: bytes, calls: int) -> None:
    batch = engine_pb2.EngineBatch(calls=[engine_pb2.EngineCall(method=method, request=request)])
    for _ in range(calls):
        result = run_batch(handler, batch)
        assert result.results[0].WhichOneof("outcome") == "response"
