"""Two ways of doing the same, in turn, several times. The ratio is taken pair by pair: machines drift,
ratios less."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from faceloom.runtime.channel import ChannelCaller

# By the name of the way.
Seconds = Mapping[str, Sequence[float]]


async def in_turn(
    served: Callable[[], Awaitable[object]], other: Callable[[], object], pairs: int
) -> tuple[list[float], list[float]]:
    """Seconds of each, `pairs` times."""
    first, second = [], []
    for _ in range(pairs):
        started = time.perf_counter()
        await served()
        between = time.perf_counter()
        other()
        first.append(between - started)
        second.append(time.perf_counter() - between)
    return first, second


async def call_all(
    caller: ChannelCaller, service: str, method: str, requests: Sequence[bytes], in_flight: int
) -> None:
    """Sends all requests, so many at a time."""
    gate = asyncio.Semaphore(in_flight)

    async def call(request: bytes) -> None:
        async with gate:
            await caller.call(service, method, request, 60)

    await asyncio.gather(*map(call, requests))


def rates(seconds: Seconds, images: int) -> dict[str, Any]:
    """Images per second of two ways, from their seconds for that many images; the first in relation to the
    second."""
    first, second = seconds.values()
    ratios = [two / one for one, two in zip(first, second, strict=True)]
    return {
        **{
            f"{way}_images_per_second": round(images / statistics.median(spent), 1)
            for way, spent in seconds.items()
        },
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def latencies(seconds: Seconds) -> dict[str, float]:
    """Milliseconds of a lone call in two ways, and what the first one takes longer."""
    medians = {way: 1000 * statistics.median(spent) for way, spent in seconds.items()}
    first, second = medians.values()
    return {
        **{f"lone_call_{way}_ms": round(median, 2) for way, median in medians.items()},
        "lone_call_extra_ms": round(first - second, 2),
    }
