"""`faceloom serve` where it cannot listen: the last line of its log says why."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest


def serve(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "faceloom.cli.main", "serve", "quality", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


@pytest.mark.parametrize("metrics", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_a_port_that_is_taken(host: str, metrics: bool, taken: int) -> None:
    listen = ["--listen", f"{host}:0", "--metrics-port", taken]
    done = serve(*(listen if metrics else ["--listen", f"{host}:{taken}"]))

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    told = json.loads(line)
    assert told["level"] == "critical"
    assert told["message"].startswith(
        f"cannot listen on {host}:{taken}: Address already in use by process {os.getpid()} ("
    )


@pytest.mark.parametrize("listen", ["localhost", "::1:50051", "50051"])
def test_what_is_no_address(listen: str) -> None:
    done = serve("--listen", listen)

    assert done.returncode == 2
    assert done.stderr == (
        f"faceloom: {listen}: give HOST:PORT, for example 127.0.0.1:50051, [::1]:50051 or :50051\n"
    )
