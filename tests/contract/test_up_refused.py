"""`faceloom up` where it cannot start: one line with the cause and what to do, before anything is started."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceloom.runtime.ports import metrics_port
from faceloom.runtime.service import service
from faceloom.runtime.stack import free_port_offset
from faceloom.runtime.targets import PIPELINE_PORT
from faceloom.runtime.torchserve.config import Ports


def up(
    *options: object, limits: str = "true", cwd: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    command = f'{limits} && exec "$0" -m faceloom.cli.main up "$@"'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, *map(str, options)],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def offset() -> int:
    return free_port_offset()


@pytest.fixture(params=["front", "pipeline", "metrics", "inference", "grpc_management"])
def taken(request: pytest.FixtureRequest, offset: int) -> Iterator[int]:
    """A port of the stack on which somebody listens."""
    ports = {
        "front": service("quality").port + offset,
        "pipeline": PIPELINE_PORT + offset,
        "metrics": metrics_port(PIPELINE_PORT, offset),
        **vars(Ports().moved(offset)),
    }
    with socket.create_server(("127.0.0.1", ports[request.param])):
        yield ports[request.param]


def test_a_port_that_is_taken(taken: int, offset: int, tmp_path: Path) -> None:
    done = up("--port-offset", offset, "--dir", tmp_path / "out")

    assert done.returncode == 1
    assert done.stderr.startswith(f"faceloom: port {taken} is in use by process {os.getpid()} (")
    assert done.stderr.endswith("); stop it, or give another --port-offset\n")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_two_that_start_together(offset: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(f"\0faceloom-stack-{offset}")
        done = up("--port-offset", offset, "--dir", tmp_path / "out")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"faceloom: another faceloom up starts with --port-offset {offset} at this moment; give another"
        " one\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "environment", "told"),
    [
        (["--port-offset", "7"], {}, "--port-offset 7: give a multiple of 20 from 0 to 15460"),
        ([], {"FACELOOM_PORT_OFFSET": "-20"}, "--port-offset -20: give a multiple of 20"),
        (["--dir", "/proc/x"], {}, "--dir /proc/x cannot be written: No such file or directory"),
        (["--dir", __file__], {}, f"--dir {__file__} cannot be written: Not a directory"),
        (["--dir", "x" * 300], {}, "cannot be written: File name too long"),
        (
            [],
            {"TMPDIR": "/nowhere"},
            "TMPDIR=/nowhere cannot be written: No such file or directory",
        ),
    ],
)
def test_what_was_asked_wrongly(
    options: list[str], environment: dict[str, str], told: str, offset: int, tmp_path: Path
) -> None:
    environment = {"FACELOOM_PORT_OFFSET": str(offset), **environment}
    done = up(*options, cwd=tmp_path, **environment)

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("faceloom: ") and told in done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            "ulimit -n 64",
            "a process may open 64 files here, and TorchServe needs 128: raise the limit",
        ),
        ("trap '' XFSZ; ulimit -f 0", "cannot be written: File too large"),
    ],
)
def test_what_the_machine_does_not_allow(
    limits: str, told: str, offset: int, tmp_path: Path
) -> None:
    done = up("--port-offset", offset, limits=limits, cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1")

    assert done.returncode in (1, 2)
    assert done.stderr.startswith("faceloom: ") and told in done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
