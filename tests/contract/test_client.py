"""The client before a front: what it tries again, and what it says."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest
from tests import rpc
from tests.contract.fronts import Serve, free_port, generate
from tests.fakes import FakeEngine, until
from tests.name_server import name_server

from faceloom.core.errors import (
    DeadlineExceeded,
    Internal,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.runtime import retrying
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.retrying import UNREACHABLE, Retrying
from faceloom.runtime.service import MAX_MESSAGE_BYTES


def caller_of(port: int, wait: float | None = None) -> ChannelCaller:
    return ChannelCaller({"generator": f"127.0.0.1:{port}"}, retrying=Retrying(wait))


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Callable[..., Awaitable[ChannelCaller]]]:
    """A client of a front before an engine."""
    callers: list[ChannelCaller] = []

    async def start(engine: FakeEngine, **facts: Any) -> ChannelCaller:
        front = await serve(engine, **facts)
        callers.append(caller_of(front.port))
        return callers[-1]

    yield start
    for caller in callers:
        await caller.close()


Client = Callable[..., Awaitable[ChannelCaller]]


@pytest.mark.parametrize("size", [1, 3 * 2**20])
@pytest.mark.parametrize(
    "error", [Unavailable("the worker died", retry_after=0.1), Overloaded("full", retry_after=0.1)]
)
async def test_the_client_tries_again_what_will_pass(
    client: Client, size: int, error: ServiceError
) -> None:
    engine = FakeEngine()
    engine.outcomes = [error, error, None]
    caller = await client(engine)

    answer = await caller.call("generator", "Generate", bytes(size), 30)

    assert len(answer) == len(b"echo:") + size
    assert len(engine.batches) == 3
    # All tries are one request in the logs.
    assert len({call.request_id for call in engine.calls}) == 1


async def test_the_client_comes_back_when_it_is_told_to(client: Client) -> None:
    engine = FakeEngine()
    engine.outcomes = [Overloaded("full", retry_after=0.5)]
    caller = await client(engine)

    started = time.monotonic()
    await caller.call("generator", "Generate", b"r", 30)

    assert time.monotonic() - started >= 0.5


@pytest.mark.parametrize("error", [Internal("bug"), TooLarge("large"), DeadlineExceeded("late")])
async def test_the_client_does_not_repeat_anything_else(
    client: Client, error: ServiceError
) -> None:
    engine = FakeEngine()
    engine.outcomes = [error]
    caller = await client(engine)

    with pytest.raises(type(error)):
        await caller.call("generator", "Generate", b"r", 30)

    assert len(engine.batches) == 1


async def test_a_queue_that_impatient_clients_keep_full_is_no_obstacle(serve: Serve) -> None:
    engine = FakeEngine(seconds=0.02)
    front = await serve(engine, max_queue=4, max_batch=2)
    caller = caller_of(front.port, wait=30)
    stop = asyncio.Event()

    async def hammer(channel: grpc.aio.Channel) -> None:
        while not stop.is_set():
            with suppress(grpc.aio.AioRpcError):
                await generate(channel, b"impatient")

    async with rpc.connect(front.port) as channel:
        hammering = [asyncio.create_task(hammer(channel)) for _ in range(12)]
        await until(lambda: len(engine.batches) > 5)
        for number in range(8):
            request = b"patient %d" % number
            answer = await caller.call("generator", "Generate", request, 30)
            assert answer == b"echo:" + request
        stop.set()
        await asyncio.gather(*hammering)
    await caller.close()


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, 2 * MAX_MESSAGE_BYTES + 1])
async def test_the_client_says_when_a_message_is_too_large(client: Client, size: int) -> None:
    caller = await client(FakeEngine())

    with pytest.raises(TooLarge):
        await caller.call("generator", "Generate", bytes(size), 30)


async def test_the_client_says_when_an_answer_is_too_large(client: Client) -> None:
    caller = await client(FakeEngine())

    with pytest.raises(TooLarge):
        await caller.call("generator", "Generate", bytes(MAX_MESSAGE_BYTES), 30)


@pytest.mark.parametrize(("wait", "told"), [(0, ""), (0.3, r" \(tried \d+ times in \d+ s\)")])
async def test_the_client_says_when_nobody_listens(wait: float, told: str) -> None:
    port = free_port()
    caller = caller_of(port, wait)

    with pytest.raises(Unavailable) as caught:
        await caller.call("generator", "Generate", b"r", 30)

    assert re.fullmatch(
        f"the generator service does not answer at 127.0.0.1:{port};"
        f" `faceloom up` starts it here{told}",
        caught.value.message,
    )
    assert caught.value.reason == UNREACHABLE
    await caller.close()


async def test_a_service_that_never_answered_is_given_up_before_one_that_did(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "_FIRST_WAIT_SECONDS", 0.0)
    nobody, engine = free_port(), FakeEngine()
    caller = caller_of(nobody)
    with pytest.raises(Unavailable):
        await caller.call("generator", "Generate", b"r", 30)
    front = await serve(engine, port=nobody)
    assert await caller.call("generator", "Generate", b"r", 30) == b"echo:r"
    await front.stop(grace=0)

    call = asyncio.create_task(caller.call("generator", "Generate", b"again", 30))
    await serve(FakeEngine(), port=nobody)

    assert await call == b"echo:again"
    await caller.close()


@pytest.mark.parametrize("away", ["name", "front"])
async def test_a_client_finds_a_service_that_was_away_as_soon_as_it_is_there(
    away: str, serve: Serve
) -> None:
    """gRPC itself would look again after a while that doubles, up to two minutes."""
    async with name_server() as names:
        names.knows = away != "name"
        port = free_port()
        target = f"dns://127.0.0.1:{names.port}/faces.test:{port}"
        caller = ChannelCaller({"generator": target}, retrying=Retrying(wait=0))
        for _ in range(6):
            with pytest.raises(Unavailable):
                await caller.call("generator", "Generate", b"r", 30)
        await serve(FakeEngine(), port=port)
        names.knows = True

        assert await caller.call("generator", "Generate", b"r", 30) == b"echo:r"

        await caller.close()


async def test_clients_do_not_share_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_PORT_OFFSET", "20")
    monkeypatch.setenv("FACELOOM_HOST", "faces.example")
    first, second = ChannelCaller({"generator": "elsewhere:1"}), ChannelCaller()

    assert first._targets.of("generator") == "elsewhere:1"
    assert second._targets.of("generator") == "faces.example:50071"
    assert second._targets.of("pipeline") == "faces.example:50070"
