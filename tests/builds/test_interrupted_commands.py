"""Ctrl-C of `faceloom build`: whose build is stopped, and what is said."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.builds.api import Gate
from tests.builds.fake_services import FakeServices
from tests.builds.served import served
from tests.fakes import eventually

from faceloom.clients.pipeline import PipelineClient
from faceloom.pipeline.v1 import pipeline_pb2 as pb

Command = asyncio.subprocess.Process


async def build(out: Path, port: int | None = None, *options: str) -> Command:
    """`faceloom build` of 200 candidates, by the pipeline service at that port."""
    targets = json.dumps({} if port is None else {"pipeline": f"127.0.0.1:{port}"})
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faceloom.cli.main", "build"),
        *("--candidates", "200", "--out", str(out), *options),
        env=os.environ | {"FACELOOM_TARGETS": targets},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def end(command: Command) -> tuple[int, list[str]]:
    """Its exit code and what it said on standard error."""
    async with asyncio.timeout(60):
        _, told = await command.communicate()
    return command.returncode or 0, told.decode().splitlines()


async def interrupt(command: Command) -> tuple[int, list[str]]:
    command.send_signal(signal.SIGINT)
    return await end(command)


@asynccontextmanager
async def held(tmp_path: Path) -> AsyncIterator[tuple[int, PipelineClient, Gate]]:
    """A service whose builds wait until the gate is opened."""
    gate = Gate(1)
    async with (
        served(tmp_path / "state", FakeServices(gate=gate)) as port,
        PipelineClient(f"127.0.0.1:{port}") as client,
    ):
        yield port, client, gate


async def watched(client: PipelineClient, times: int) -> pb.Build:
    """The only build, once it is watched by so many."""

    async def is_watched() -> bool:
        builds = await client.newest(2)
        return bool(builds) and builds[0].watchers == times

    await eventually(is_watched)
    (found,) = await client.newest(2)
    return found


async def test_the_only_follower_stops_the_build_that_it_began(tmp_path: Path) -> None:
    async with held(tmp_path) as (port, client, _):
        command = await build(tmp_path / "faces", port)
        await watched(client, 1)

        code, told = await interrupt(command)

        (after,) = await client.newest(2)
    assert (code, told[-1]) == (
        130,
        "faceloom: cancelled; the same command takes the build up again",
    )
    assert after.state == pb.BUILD_STATE_CANCELLED


async def test_a_build_that_others_follow_goes_on(tmp_path: Path) -> None:
    async with held(tmp_path) as (port, client, gate):
        first = await build(tmp_path / "faces", port)
        await watched(client, 1)
        second, third = [await build(tmp_path / "faces", port) for _ in range(2)]
        build_id = (await watched(client, 3)).id

        goes_on = f"faceloom: build {build_id} goes on in the pipeline service"
        code, told = await interrupt(first)
        assert (code, told[-1]) == (130, f"{goes_on}: others watch it")
        # Nobody else is left, but it is not the one that began it.
        code, told = await interrupt(second)
        assert (code, told[-1]) == (130, f"{goes_on}: another command began it")
        gate.open.set()
        code, told = await end(third)

        (after,) = await client.newest(2)
    assert (code, told) == (0, [])
    assert after.state == pb.BUILD_STATE_SUCCEEDED


async def test_a_build_in_the_commands_own_process_says_what_it_is_doing(tmp_path: Path) -> None:
    command = await build(tmp_path / "faces", None, "--engine", "inprocess")

    async def is_begun() -> bool:
        return (tmp_path / "faces" / ".build").exists()

    await eventually(is_begun)
    code, told = await interrupt(command)

    assert (code, told) == (
        130,
        [
            "stopping; Ctrl-C again ends at once: shards that are not committed are lost",
            "faceloom: interrupted; the same command takes the build up again",
        ],
    )


async def test_a_build_that_nobody_takes_yet_is_interrupted_in_a_line(tmp_path: Path) -> None:
    asked = asyncio.Event()

    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        asked.set()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as nobody:
        port = nobody.sockets[0].getsockname()[1]
        command = await build(tmp_path / "faces", port, "--wait", "600")
        async with asyncio.timeout(60):
            await asked.wait()
        code, told = await interrupt(command)

    assert (code, told[-1]) == (
        130,
        "faceloom: interrupted; the same command takes the build up again",
    )
