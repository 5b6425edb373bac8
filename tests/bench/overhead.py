"""What front and TorchServe cost: the same requests through them, and in a bare loop over the handler.

Both run in turn, several times, and the ratio is taken pair by pair: machines drift, ratios less.
"""

import asyncio
import statistics
import time
from typing import Any

import numpy as np

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.handler import AnyHandler, run_batch
from faceloom.runtime.service import service
from faceloom.store.profile import model_folder

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
    served, bare, lone_served, lone_bare = [], [], [], []
    for _ in range(PAIRS):
        served.append(64 * CALLS / await _served(caller, service_name, method, large))
        bare.append(64 * CALLS / _bare(handler, method, large))
    for _ in range(LONE_CALLS):
        started = time.perf_counter()
        await caller.call(service_name, method, small, 60)
        lone_served.append(time.perf_counter() - started)
        started = time.perf_counter()
        _run(handler, method, small)
        lone_bare.append(time.perf_counter() - started)
    await caller.close()
    ratios = [one / other for one, other in zip(served, bare, strict=True)]
    extra = statistics.median(lone_served) - statistics.median(lone_bare)
    return {
        "served_images_per_second": round(statistics.median(served), 1),
        "bare_images_per_second": round(statistics.median(bare), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "lone_call_served_ms": round(1000 * statistics.median(lone_served), 2),
        "lone_call_bare_ms": round(1000 * statistics.median(lone_bare), 2),
        "lone_call_extra_ms": round(1000 * extra, 2),
        "calls_in_flight": IN_FLIGHT,
    }


async def _served(caller: ChannelCaller, name: str, method: str, request: bytes) -> float:
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def call() -> None:
        async with gate:
            await caller.call(name, method, request, 60)

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(CALLS)))
    return time.perf_counter() - started


def _bare(handler: AnyHandler, method: str, request: bytes) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        _run(handler, method, request)
    return time.perf_counter() - started


def _run(handler: AnyHandler, method: str, request: bytes) -> None:
    batch = engine_pb2.EngineBatch(calls=[engine_pb2.EngineCall(method=method, request=request)])
    result = run_batch(handler, batch)
    assert result.results[0].WhichOneof("outcome") == "response"
