"""The client before a front: what it tries again, and what it says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.contract.fronts import Serve, free_port
from tests.fakes import FakeEngine
from tests.name_server import name_server

from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.errors import (
    Internal,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.runtime.service import MAX_MESSAGE_BYTES


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Callable[..., Awaitable[ChannelCaller]]]:
    """A client of a front before an engine."""
    callers: list[ChannelCaller] = []

    async def start(engine: FakeEngine, **facts: Any) -> ChannelCaller:
        front = await serve(engine, **facts)
        callers.append(ChannelCaller({"generator": f"127.0.0.1:{front.port}"}))
        return callers[-1]

    yield start
    for caller in callers:
        await caller.close()


Client = Callable[..., Awaitable[ChannelCaller]]


@pytest.mark.parametrize("size", [1, 3 * 2**20])
async def test_the_client_tries_again_what_was_unavailable(client: Client, size: int) -> None:
    engine = FakeEngine()
    engine.outcomes = [Unavailable("the worker died", retry_after=5), None]
    caller = await client(engine)

    answer = await caller.call("generator", "Generate", bytes(size), 30)

    assert len(answer) == len(b"echo:") + size
    assert len(engine.batches) == 2


@pytest.mark.parametrize("error", [Overloaded("full", retry_after=3), Internal("bug")])
async def test_the_client_does_not_repeat_anything_else(
    client: Client, error: ServiceError
) -> None:
    engine = FakeEngine()
    engine.outcomes = [error]
    caller = await client(engine)

    with pytest.raises(type(error)) as caught:
        await caller.call("generator", "Generate", b"r", 30)

    assert caught.value.retry_after == error.retry_after
    assert len(engine.batches) == 1


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, 2 * MAX_MESSAGE_BYTES + 1])
async def test_the_client_says_when_a_message_is_too_large(client: Client, size: int) -> None:
    caller = await client(FakeEngine())

    with pytest.raises(TooLarge):
        await caller.call("generator", "Generate", bytes(size), 30)


async def test_the_client_says_when_an_answer_is_too_large(client: Client) -> None:
    caller = await client(FakeEngine())

    with pytest.raises(TooLarge):
        await caller.call("generator", "Generate", bytes(MAX_MESSAGE_BYTES), 30)


async def test_the_client_says_when_nobody_listens() -> None:
    caller = ChannelCaller({"generator": f"127.0.0.1:{free_port()}"})

    with pytest.raises(Unavailable):
        await caller.call("generator", "Generate", b"r", 30)

    await caller.close()


@pytest.mark.parametrize("away", ["name", "front"])
async def test_a_client_finds_a_service_that_was_away_as_soon_as_it_is_there(
    away: str, serve: Serve
) -> None:
    """gRPC itself would look again after a while that doubles, up to two minutes."""
    async with name_server() as names:
        names.knows = away != "name"
        port = free_port()
        caller = ChannelCaller({"generator": f"dns://127.0.0.1:{names.port}/faces.test:{port}"})
        for _ in range(6):
            with pytest.raises(Unavailable):
                await caller.call("generator", "Generate", b"r", 30)
        await serve(FakeEngine(), port=port)
        names.knows = True

        assert await caller.call("generator", "Generate", b"r", 30) == b"echo:r"

        await caller.close()


async def test_clients_do_not_share_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_PORT_OFFSET", "7")
    monkeypatch.setenv("FACELOOM_HOST", "faces.example")
    first, second = ChannelCaller({"generator": "elsewhere:1"}), ChannelCaller()

    assert first._targets.of("generator") == "elsewhere:1"
    assert second._targets.of("generator") == "faces.example:50058"
    assert second._targets.of("pipeline") == "faces.example:50057"
