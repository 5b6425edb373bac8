"""Says in a few words why a process ended, from the last lines of its log."""

import json
import re
import signal
from collections.abc import Sequence
from typing import Any

# How TorchServe calls the threads that read what a worker prints: W-9000-quality_1.0-stderr
_WORKER = re.compile(r"W-\d+-(?P<service>\w+?)_\d")
_WORKERS_OUTPUT = "MODEL_LOG"
# What TorchServe logs when a worker ended before its model was loaded.
_DIED = ("Load model failed", "Backend worker error")
# The cause of a Java exception, and what Java's crash handler begins with.
_CAUSED_BY = re.compile(
    r"(?:Caused by: (?:[\w.$]+: )?|#\s+(?=SIG[A-Z]+ |There is insufficient memory))(?P<cause>.+)"
)
# The last line of a Python traceback.
_RAISED = re.compile(r"(?:\w+\.)*(?P<error>[A-Z]\w*(?:: .+|Error|Exception))", re.DOTALL)
_TROUBLE = ("error", "critical")
_LETTERS = 300


def why_it_died(said: Sequence[dict[str, Any]], code: int) -> str:
    """The cause of a process's end.

    Args:
        said: Lines of its log, the oldest first.
        code: Its exit code; a negative one is the number of the signal that ended it.
    """
    for event in reversed(said):
        if caused := _CAUSED_BY.match(str(event.get("message", ""))):
            return _short(caused["cause"])
    for event in reversed(said):
        text = str(event.get("message", ""))
        if event.get("level") in _TROUBLE and not text[:1].isspace():
            return _short(text)
    if code == -signal.SIGKILL:
        return "killed, maybe for want of memory"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def worker_that_died(said: Sequence[dict[str, Any]]) -> str:
    """Whose model TorchServe could not load and why; empty as long as all is well.

    Args:
        said: Lines of TorchServe's log, the oldest first.
    """
    for event in said:
        if str(event.get("message", "")).startswith(_DIED):
            worker = _WORKER.match(str(event.get("thread", "")))
            if worker is not None:
                service = worker["service"]
                return f"the {service} model cannot be loaded ({_workers_words(said, service)})"
    return ""


def _workers_words(said: Sequence[dict[str, Any]], service: str) -> str:
    for event in reversed(said):
        worker = _WORKER.match(str(event.get("thread", "")))
        if event.get("logger") != _WORKERS_OUTPUT or worker is None or worker["service"] != service:
            continue
        if raised := _RAISED.fullmatch(_inner(str(event["message"]))):
            return _short(raised["error"])
    return "its worker ended without a word; maybe for want of memory"


def _inner(text: str) -> str:
    """What a worker's line says: they are JSON themselves where Faceloom wrote them."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
