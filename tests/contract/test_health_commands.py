"""What kubelets learn from `faceloom health`, and engines from `faceloom wait-closed`."""

import asyncio
import socket
import threading

import grpc
import pytest
from tests.contract.fronts import ready
from tests.fakes import EchoHandler, fake_service

from faceloom.cli.health import health, wait_closed
from faceloom.core.errors import FaceloomError
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.front import Front
from faceloom.runtime.stack import free_port_offset


async def test_health_of_a_front(capsys: pytest.CaptureFixture[str]) -> None:
    service = fake_service()
    front = Front(service, InProcessEngine(EchoHandler(service)), "127.0.0.1:0")
    await front.start()
    target = f"127.0.0.1:{front.port}"
    try:
        await asyncio.to_thread(health, target)
        with pytest.raises(FaceloomError, match="NOT_FOUND"):
            await asyncio.to_thread(health, target, "faceloom.stranger.v1.StrangerService")
    finally:
        await front.stop(grace=0)

    assert capsys.readouterr().out == "SERVING\n"
    with pytest.raises(FaceloomError, match="UNAVAILABLE"):
        await asyncio.to_thread(health, target)


async def test_health_of_a_service_by_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = fake_service()
    offset = free_port_offset()
    front = Front(service, InProcessEngine(EchoHandler(service)), f"127.0.0.1:{50051 + offset}")
    await front.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{front.port}") as channel:
            await ready(channel)
        await asyncio.to_thread(health, "generator", "", 5, offset)
        monkeypatch.setenv("FACELOOM_TARGETS", f'{{"generator": "127.0.0.1:{front.port}"}}')
        await asyncio.to_thread(health, "generator")
    finally:
        await front.stop(grace=0)

    assert capsys.readouterr().out == "SERVING\nSERVING\n"
    with pytest.raises(FaceloomError, match="no service 'faces'; there are generator"):
        health("faces")


async def test_an_engine_that_is_not_there_is_not_serving() -> None:
    service = fake_service()
    handler = EchoHandler(service)
    engine = InProcessEngine(handler)

    async def never() -> None:
        raise RuntimeError("no worker")

    engine.check = never  # type: ignore[method-assign]
    front = Front(service, engine, "127.0.0.1:0")
    await front.start()
    try:
        with pytest.raises(FaceloomError, match="NOT_SERVING"):
            await asyncio.to_thread(health, f"127.0.0.1:{front.port}", service.service)
    finally:
        await front.stop(grace=0)


def test_waiting_ends_when_the_port_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(FaceloomError, match=f"port {port} after 0 s"):
            wait_closed(port, 0)
        waiting = threading.Thread(target=wait_closed, args=(port, 60))
        waiting.start()
        server.accept()[0].close()
        assert waiting.is_alive()
    waiting.join(30)

    assert not waiting.is_alive()
