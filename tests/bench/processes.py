"""Memory of this process and all it started."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psutil


def resident_bytes() -> int:
    """Resident memory of all descendants, shared pages counted for each of them."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


@dataclass
class Peak:
    """The most that was seen."""

    resident: int = 0


@contextlib.asynccontextmanager
async def peak() -> AsyncIterator[Peak]:
    """Samples the resident memory twice a second while the body runs."""
    seen = Peak()

    async def sample() -> None:
        while True:
            seen.resident = max(seen.resident, resident_bytes())
            await asyncio.sleep(0.5)

    sampling = asyncio.create_task(sample())
    try:
        yield seen
    finally:
        sampling.cancel()
