"""Says in a few words why a worker of TorchServe ended, from TorchServe's log."""

import json
import re
from collections.abc import Sequence
from typing import Any

from faceloom.core.wording import shortened

# How TorchServe calls the threads that read what a worker prints: W-9000-quality_1.0-stderr
_WORKER = re.compile(r"W-\d+-(?P<service>\w+?)_\d")
_WORKERS_OUTPUT = "MODEL_LOG"
# What TorchServe logs when a worker ended before its model was loaded.
_DIED = ("Load model failed", "Backend worker error")
# The last line of a Python traceback.
_RAISED = re.compile(r"(?:\w+\.)*(?P<error>[A-Z]\w*(?:: .+|Error|Exception))", re.DOTALL)


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
            return shortened(raised["error"])
    return "its worker ended without a word; maybe for want of memory"


def _inner(text: str) -> str:
    """What a worker's line says: they are JSON themselves where Faceloom wrote them."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text
