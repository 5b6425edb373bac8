"""Child processes, real ones: whatever they write and however they end, their logs are lines of JSON."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.fakes import eventually

from faceloom.core.errors import FaceloomError
from faceloom.runtime.program import Program
from faceloom.runtime.stack import Stack


def program(tmp_path: Path, code: str, log: Path | None = None) -> Program:
    return Program(
        *("child", [sys.executable, "-c", code], os.environ, log or tmp_path / "child.log"),
        folder=tmp_path,
    )


async def ended(child: Program) -> int:
    await child.start()
    assert child.process is not None
    code = await child.process.wait()
    await child.last_words()
    return code


def lines(tmp_path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (tmp_path / "child.log").read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in found)
    return found


async def test_lines_of_json_stay_and_others_become_some(tmp_path: Path) -> None:
    said = {"time": "now", "level": "info", "logger": "x", "message": "ü", "port": 1}
    await ended(
        program(tmp_path, f"print({json.dumps(json.dumps(said))}); print('plain'); print('[1]')")
    )

    starts, *rest = lines(tmp_path)
    assert (starts["logger"], starts["message"]) == ("child", "starts")
    assert rest[0] == said
    assert [(one["level"], one["message"]) for one in rest[1:]] == [
        ("info", "plain"),
        ("info", "[1]"),
    ]


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("raise ValueError('oh')", "ValueError: oh"),
        (
            "import nothing_of_that_name",
            "ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("def :", "SyntaxError: invalid syntax"),
    ],
)
async def test_a_python_that_dies(code: str, last: str, tmp_path: Path) -> None:
    assert await ended(program(tmp_path, code)) == 1

    assert (lines(tmp_path)[-1]["level"], lines(tmp_path)[-1]["message"]) == ("error", last)


async def test_a_process_that_is_torn_down_in_the_middle_of_a_line(tmp_path: Path) -> None:
    code = "import os, faulthandler; faulthandler.enable(); os.write(1, b'half \\xff'); os.abort()"
    assert await ended(program(tmp_path, code)) == -signal.SIGABRT

    messages = [line["message"] for line in lines(tmp_path)]
    assert messages[1].startswith("half \N{REPLACEMENT CHARACTER}")
    assert any("Fatal Python error: Aborted" in message for message in messages)


async def test_much_is_written_at_once(tmp_path: Path) -> None:
    """More than a pipe holds, so whoever does not read keeps it from ending."""
    await ended(program(tmp_path, "print('x' * 10**6); print('y\\n' * 500)"))

    async def all_is_written() -> bool:
        return (tmp_path / "child.log").read_bytes().count(b"\n") == 502

    await eventually(all_is_written)
    assert len(lines(tmp_path)[1]["message"]) == 10**6


async def test_a_line_that_is_json_of_no_reasonable_depth(tmp_path: Path) -> None:
    await ended(program(tmp_path, "print('[' * 200_000); print('goes on')"))

    assert [line["message"][:7] for line in lines(tmp_path)] == ["starts", "[" * 7, "goes on"]


async def test_what_cannot_be_started_again_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = program(tmp_path, "import sys; sys.exit(3)")
    await child.start()
    child.log = Path("/dev/full")
    keeping = asyncio.create_task(Stack(tmp_path, tmp_path)._keep(child))

    async def told() -> bool:
        return any(getattr(one, "cause", "").endswith("device") for one in caplog.records)

    async def started_again() -> bool:
        return len(lines(tmp_path)) > 1

    await eventually(told)
    assert [one.message for one in caplog.records].count("died") == 1
    child.log = tmp_path / "child.log"
    await eventually(started_again)
    keeping.cancel()
    await asyncio.wait([keeping])
    await child.kill()


async def test_a_full_disk_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FaceloomError) as caught:
        await program(tmp_path, "pass", log=Path("/dev/full")).start()

    assert str(caught.value) == "child cannot be started: /dev/full: No space left on device"


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    child = Program(*("child", ["/no/java"], os.environ, tmp_path / "child.log"), folder=tmp_path)
    with pytest.raises(FaceloomError) as caught:
        await child.start()

    assert str(caught.value) == "child cannot be started: /no/java: No such file or directory"


async def test_nothing_of_its_group_is_left(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    child = program(tmp_path, code)
    await child.start()

    async def spoke() -> bool:
        return len(child.said) > 0

    await eventually(spoke, 30)
    grandchild = int(child.said[0]["message"])

    await child.kill()

    async def gone() -> bool:
        return not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie"

    await eventually(gone, 30)
