"""Stacks that cannot become ready: why is said as soon as it happens, and nothing is left of them."""

import asyncio
import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from tests.commands import faceloom
from tests.fakes import eventually

from faceloom.runtime import stack as stack_module
from faceloom.runtime.archive import write_archive
from faceloom.runtime.service import service
from faceloom.runtime.stack import Stack, StackError, free_port_offset
from faceloom.runtime.torchserve.config import Ports
from faceloom.store.profile import model_folder, model_store

pytestmark = pytest.mark.torchserve


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Of the quality service alone."""
    write_archive(service("quality"), [model_folder("tiny", "quality")], tmp_path / "mar")
    return tmp_path / "mar"


@pytest.fixture
def failing(
    archives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Callable[[int], str]:
    """Starts a stack at that offset and returns what is said when it fails."""
    monkeypatch.setenv("TMPDIR", "/tmp")

    def start(offset: int) -> str:
        started = Stack(archives, tmp_path / "out", offset)
        # The stack that other tests share may run.
        others = psutil.Process().children(recursive=True)

        async def run() -> None:
            try:
                await started.start()
            finally:
                await started.stop()

        with pytest.raises(StackError) as caught:
            asyncio.run(run())
        left = psutil.Process().children(recursive=True)
        assert [child for child in left if child not in others] == []
        # Nor does asyncio tell of a task that nobody asked how it ended.
        gc.collect()
        assert [record.message for record in caplog.records if record.name == "asyncio"] == []
        for log in started.logs.iterdir():
            assert all(json.loads(line)["message"] for line in log.read_text().splitlines())
        return str(caught.value)

    return start


def rewrite(archive: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The same archive with members that were changed."""
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members.items():
            file.writestr(name, change(name, content))


def test_a_model_that_cannot_be_loaded(
    archives: Path, failing: Callable[[int], str], tmp_path: Path
) -> None:
    def cut(name: str, content: bytes) -> bytes:
        return content[:1000] if name.endswith(".safetensors") else content

    rewrite(archives / "quality.mar", cut)

    told = failing(free_port_offset())

    log = re.escape(str(tmp_path / "out/logs/torchserve.log"))
    assert re.fullmatch(rf"the quality model cannot be loaded \(BrokenModel: .+\); see {log}", told)
    assert "\n" not in told


def test_a_port_that_was_taken_after_all_were_looked_at(
    failing: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "check_ports", lambda offset: None)
    offset = free_port_offset()
    taken = Ports().moved(offset).grpc_inference
    with closing(socket.create_server(("127.0.0.1", taken))):
        told = failing(offset)

    assert told.startswith(
        f"torchserve stopped at once (port {taken} is in use by process {os.getpid()} ("
    )
    assert told.endswith(f"; see {tmp_path / 'out/logs/torchserve.log'}")


def test_a_front_that_dies(
    failing: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "faceloom" / "cli"
    broken.mkdir(parents=True)
    (broken / "main.py").write_text("import a_package_that_is_gone\n")
    for folder in (broken, broken.parent):
        (folder / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))

    told = failing(free_port_offset())

    assert re.fullmatch(
        r"\w+ stopped at once \(ModuleNotFoundError: No module named 'a_package_that_is_gone'\);"
        r" see .*\.log",
        told,
    )


def test_java_that_cannot_have_its_memory(
    failing: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stack_module.torchserve_command

    def limited(*arguments: object) -> tuple[list[str], dict[str, str]]:
        command, environment = real(*arguments)  # type: ignore[arg-type]
        return ["prlimit", f"--as={400 * 2**20}", *command], environment

    monkeypatch.setattr(stack_module, "torchserve_command", limited)

    assert failing(free_port_offset()).startswith(
        "torchserve stopped at once (Could not reserve enough space for 524288 KB object heap); see"
    )


def test_a_second_stack_on_the_same_ports(stack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = ("--port-offset", str(stack.port_offset), "--dir", tmp_path / "other")
    done = faceloom("up", *options, store=model_store())

    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(
        rf"faceloom: port {stack.port('generator')} is in use by process \d+ \(faceloom serve generator .*;"
        r" another faceloom up\?\); stop it, or give another --port-offset\n",
        done.err,
    )
    assert not (tmp_path / "other").exists()


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faceloom.cli.main", "up", "--dir", str(tmp_path / "out")]
    up = subprocess.Popen(
        [*command, "--port-offset", str(free_port_offset())],
        env={**os.environ, "TMPDIR": "/tmp"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process = psutil.Process(up.pid)

    async def java_runs() -> bool:
        assert up.poll() is None
        return any("org.pytorch.serve.ModelServer" in one.cmdline() for one in process.children())

    asyncio.run(eventually(java_runs, 60))
    family = process.children(recursive=True)
    up.send_signal(signal.SIGINT)
    output, errors = up.communicate(timeout=30)

    assert (up.returncode, output, errors) == (0, b"", b"")
    assert [one for one in family if one.is_running()] == []
