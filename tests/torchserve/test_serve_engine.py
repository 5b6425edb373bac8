"""`faceloom serve-engine`, as the engine container runs it."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from faceloom.core.errors import Unavailable
from faceloom.runtime.archive import write_archive
from faceloom.runtime.engine import warm_up
from faceloom.runtime.service import service
from faceloom.runtime.stack import free_port_offset
from faceloom.runtime.torchserve.config import Ports
from faceloom.runtime.torchserve.engine import TorchServeEngine
from faceloom.store.profile import model_folder

pytestmark = pytest.mark.torchserve


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "faceloom.cli.main", "serve-engine", *map(str, arguments)]


@pytest.fixture
def offset() -> int:
    return free_port_offset()


@pytest.fixture
def engine(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, offset: int
) -> Iterator[subprocess.Popen[bytes]]:
    """An engine that serves the quality model, and that is gone after the test."""
    write_archive(service("quality"), [model_folder("tiny", "quality")], tmp_path)
    scratch = tmp_path_factory.mktemp("ts")
    arguments = ["quality", "--archives", tmp_path, "--dir", scratch, "--port-offset", offset]
    with subprocess.Popen(command(*arguments)) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()


async def test_it_serves_and_stops_when_told(engine: subprocess.Popen[bytes], offset: int) -> None:
    ports = Ports().moved(offset)
    client = TorchServeEngine(
        "quality", f"127.0.0.1:{ports.grpc_inference}", f"http://127.0.0.1:{ports.management}"
    )
    async with asyncio.timeout(120):
        while True:
            assert engine.poll() is None
            # As fronts do: on a busy machine a first connection may take longer than one try.
            with contextlib.suppress(Unavailable):
                await client.check()
                info = await warm_up(client)
                break
            await asyncio.sleep(0.2)
    workers = psutil.Process(engine.pid).children(recursive=True)
    await client.close()

    assert info.name == "tiny"
    assert workers
    engine.terminate()
    await asyncio.to_thread(engine.wait, 60)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive


def test_an_archive_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        command("quality", "--archives", tmp_path), capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"faceloom: {tmp_path}/quality.mar is not there")
    assert done.stderr.count("\n") == 1
