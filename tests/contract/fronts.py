"""How tests reach a front that runs before a `FakeEngine`."""

import asyncio
import socket
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from tests import rpc
from tests.fakes import eventually

from faceloom.runtime.front import Front

SERVICE = "faceloom.generator.v1.GeneratorService"
Serve = Callable[..., Awaitable[Front]]


def generate(channel: grpc.aio.Channel, request: bytes = b"r", **options: Any) -> Any:
    return rpc.call(channel, "generator", request, **options)


async def ready(channel: grpc.aio.Channel, wanted: int = rpc.SERVING) -> None:
    async def as_wanted() -> bool:
        return await rpc.health(channel, SERVICE) == wanted

    await eventually(as_wanted)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def scrape(port: int) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)


async def sample(port: int, name: str, wanted: float) -> None:
    """Waits until a metric without labels has that value."""

    async def as_wanted() -> bool:
        return f"\n{name} {wanted:.1f}\n" in await scrape(port)

    await eventually(as_wanted)
