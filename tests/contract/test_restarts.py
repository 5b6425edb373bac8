"""A command that is under way while the process it calls is killed, and comes back after two seconds."""

import asyncio
import json
import signal
import socket
import struct
import sys
from pathlib import Path

import pytest
from tests import samples
from tests.commands import faceloom
from tests.contract.fronts import free_port

from faceloom.runtime.service import service
from faceloom.runtime.stack import free_port_offset
from faceloom.store.profile import model_store

FILES = 120
_RESTART_SECONDS = 2


async def front(port: int) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "tests.contract.front_process", str(port))
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def answered(process: asyncio.subprocess.Process, batches: int) -> None:
    """Returns when it has answered so many."""
    assert process.stdout is not None
    for _ in range(batches):
        assert await process.stdout.readline(), "the front ended"


def hang_up(connection: socket.socket) -> None:
    """At once, as a killed process does, so that another one can listen there."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restart_of_the_front_loses_no_score(
    how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{number:03d}.png" for number in range(FILES)]
    for file in files:
        file.write_bytes(samples.file(samples.face(1)).data)
    port = free_port()
    monkeypatch.setenv("FACELOOM_TARGETS", json.dumps({"quality": f"127.0.0.1:{port}"}))
    first = await front(port)
    run = asyncio.create_task(
        asyncio.to_thread(faceloom, "classify", *files, "--json", store=model_store())
    )
    await answered(first, batches=5)
    first.send_signal(how)
    await first.wait()
    await asyncio.sleep(_RESTART_SECONDS)
    second = await front(port)

    done = await run

    second.terminate()
    await second.wait()
    assert done.code == 0, done.err
    scores = json.loads(done.out)["qualities"]
    assert [score["file"] for score in scores] == [str(file) for file in files]
    assert {score["score"] for score in scores} == {0.25}


async def test_a_command_may_begin_while_the_front_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "face.png"
    file.write_bytes(samples.file(samples.face(1)).data)
    offset = free_port_offset()
    port = service("quality").port + offset
    monkeypatch.setenv("FACELOOM_PORT_OFFSET", "nonsense")
    command = ("classify", file, "--json", "--port-offset", offset, "--wait", "60")
    with socket.create_server(("127.0.0.1", port)) as leaving:
        run = asyncio.create_task(asyncio.to_thread(faceloom, *command, store=model_store()))
        first_try, _ = await asyncio.to_thread(leaving.accept)
    hang_up(first_try)
    process = await front(port)

    done = await run

    process.terminate()
    await process.wait()
    assert done.code == 0, done.err
