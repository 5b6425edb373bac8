"""Logs: one JSON object per line, whatever is in it."""

import json
import logging
import subprocess
import sys

import pytest

from faceloom.core.logs import JsonFormatter
from faceloom.core.request_id import carrying_request_id


def line(message: str, *args: object, extra: dict[str, object] | None = None, **kw: object) -> str:
    logger = logging.getLogger("faceloom.test")
    record = logger.makeRecord(
        logger.name, logging.WARNING, "f", 1, message, args, kw.get("exc_info"), extra=extra
    )  # type: ignore[arg-type]
    return JsonFormatter().format(record)


def test_an_event_is_one_line_of_json_with_its_extras() -> None:
    text = line("half\nway %d", 3, extra={"request_id": "r1", "port": 50051})

    assert "\n" not in text
    event = json.loads(text)
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "level": "warning",
        "logger": "faceloom.test",
        "message": "half\nway 3",
        "request_id": "r1",
        "port": 50051,
    }


def test_a_command_says_it_in_a_line() -> None:
    """What nobody formats, Python prints as the bare message: `refused`, without who and why."""
    program = (
        "import logging, sys\n"
        "sys.argv = ['faceloom', '--version']\n"
        "from faceloom.cli.main import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "log = logging.getLogger('faceloom.builds.splitting')\n"
        "log.warning('a service refused candidates', extra={'service': 'sketch', 'cause': 'no\\nface'})\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError as error: log.error('handler failed', exc_info=error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines() == [
        "faceloom: a service refused candidates (service: sketch, cause: no face)",
        "faceloom: handler failed (cause: division by zero)",
    ]


def test_a_stack_is_part_of_the_line() -> None:
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError as error:
        text = line("failed", exc_info=(type(error), error, error.__traceback__))

    assert "\n" not in text
    assert "ZeroDivisionError: oh" in json.loads(text)["stack"]


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}])
def test_what_json_does_not_know_is_written_as_text(value: object) -> None:
    assert json.loads(line("x", extra={"thing": value}))["thing"] == str(value)


def test_a_request_is_named_in_every_line_of_its_task() -> None:
    assert "request_id" not in json.loads(line("x"))

    with carrying_request_id() as request_id, carrying_request_id() as inner:
        assert json.loads(line("x"))["request_id"] == request_id == inner
        assert json.loads(line("x", extra={"request_id": "own"}))["request_id"] == "own"

    assert "request_id" not in json.loads(line("x"))


CRASH = """
import threading, warnings
from faceloom.core.logs import log_json
log_json()
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise ValueError("oh\\nno")
"""


def test_what_ends_a_process_is_a_line_of_its_log() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH], capture_output=True, text=True, check=False
    )

    warning, thread, end = map(json.loads, done.stderr.splitlines())
    assert done.returncode == 1
    assert (warning["level"], thread["message"]) == (
        "warning",
        "ZeroDivisionError: division by zero",
    )
    assert (end["level"], end["message"]) == ("critical", "ValueError: oh\nno")
    assert "Traceback" in end["stack"] and "lambda" in thread["stack"]
