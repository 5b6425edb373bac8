"""Stacks with a real TorchServe: `faceloom up` in a process of its own, so that it goes on looking after its
children while a test does nothing but wait. One serves most tests that need one."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from faceloom.runtime.ports import metrics_port
from faceloom.runtime.service import services
from faceloom.runtime.stack import free_port_offset
from faceloom.runtime.targets import PIPELINE_PORT
from faceloom.runtime.torchserve.config import Ports

_START_SECONDS = 150
_STOP_SECONDS = 60


@dataclass
class RunningStack:
    """A `faceloom up` that said it is ready."""

    process: psutil.Process
    port_offset: int
    logs: Path

    def port(self, service: str) -> int:
        """Where that service listens."""
        return _own_port(service) + self.port_offset

    def metrics_port(self, service: str) -> int:
        """Where that service shows its metrics."""
        return metrics_port(_own_port(service), self.port_offset)

    @property
    def torchserve_ports(self) -> Ports:
        """Where TorchServe listens."""
        return Ports().moved(self.port_offset)

    def program(self, name: str) -> psutil.Process | None:
        """The process of a service, or of `torchserve`; None while it is not there."""
        part = "org.pytorch.serve.ModelServer" if name == "torchserve" else f"serve {name} "
        for child in self.process.children():
            try:
                if part in " ".join(child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None


def _own_port(service: str) -> int:
    return PIPELINE_PORT if service == "pipeline" else services()[service].port


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The stack with the shipped models, below a folder of a kind that people have."""
    folder = tmp_path_factory.mktemp("stack") / "jürgen 日本 (1) = # !"
    folder.mkdir()
    with _running(folder, "tiny") as started:
        yield started


@pytest.fixture(scope="session")
def start_stack() -> Callable[[Path, str], AbstractContextManager[RunningStack]]:
    """Starts another stack, with a folder for its logs and a profile."""
    return _running


@contextmanager
def _running(folder: Path, profile: str) -> Iterator[RunningStack]:
    """A stack that ends when asked to, and of which nothing is left."""
    up, started = launch(folder, profile)
    try:
        yield started
    finally:
        family = [started.process, *started.process.children(recursive=True)]
        up.terminate()
        code = up.wait(_STOP_SECONDS)
    assert code == 0
    # What was killed may take a moment to be gone.
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", started.torchserve_ports.grpc_inference)) != 0


def launch(
    folder: Path, profile: str, scratch: str = "/tmp"
) -> tuple[subprocess.Popen[bytes], RunningStack]:
    """Starts a stack and returns when it says that it is ready."""
    offset = free_port_offset()
    with (folder / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "faceloom.cli.main", "up", "--json", "--dir", str(folder)]
        up = subprocess.Popen(
            [*command, "--profile", profile, "--port-offset", str(offset)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            # Unix socket paths are short, pytest's folders are long. Java in the locale C reads ASCII only,
            # and nothing here is to be asked through a proxy.
            env={
                **os.environ,
                "TMPDIR": scratch,
                "LC_ALL": "C",
                "http_proxy": "http://127.0.0.1:9",
            },
        )
    assert up.stdout is not None
    process = psutil.Process(up.pid)
    timer = signal.signal(signal.SIGALRM, lambda *_: up.kill())
    signal.alarm(_START_SECONDS)
    ready = up.stdout.readline()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, timer)
    assert ready, f"the stack did not start; see {folder}"
    assert json.loads(ready)["ready"] is True
    up.stdout.close()
    return up, RunningStack(process, offset, folder / "logs")
