"""Logs on standard error, without payloads: of services a JSON object per event, of commands a line."""

import json
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from faceloom.core.request_id import current_request_id
from faceloom.core.tracing import trace_id

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_TROUBLE = re.compile(r"Error|Exception|Traceback|[Ff]atal|Caused by|Could not|cannot|^\s")


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, the request's id and trace, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if request_id := current_request_id():
            said.setdefault("request_id", request_id)
        if trace := trace_id():
            said["trace_id"] = trace
        if record.exc_info:
            said["stack"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


class LineFormatter(logging.Formatter):
    """`faceloom: the message (name: value, ...)`, with whatever was given as `extra`, and without a stack."""

    def format(self, record: logging.LogRecord) -> str:
        extras = _extras(record)
        if record.exc_info and record.exc_info[1]:
            extras["cause"] = record.exc_info[1]
        said = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in extras.items())
        return f"faceloom: {record.getMessage()}{f' ({said})' if said else ''}".replace("\n", " ")


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _PLAIN}


def log_lines() -> None:
    """Shows warnings and errors of a process that has no other log as lines for people."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())


def log_json(name: str = "") -> None:
    """Sends the logs of this process, or of the one package, to standard error as JSON lines.

    Of a whole process, also what ends it or a thread of it, and warnings, are lines of its log.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not name:
        logging.captureWarnings(True)
        sys.excepthook = _log_crash
        threading.excepthook = _log_crash_of_thread


def as_event(line: str, program: str) -> dict[str, Any]:
    """A line of a program's output as an event: what it says if it is JSON already.

    Args:
        line: Without its end.
        program: Who wrote it.
    """
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        return said
    level = "info"
    if line.lower().startswith("warning"):
        level = "warning"
    elif _TROUBLE.search(line):
        level = "error"
    return event(level, program, line)


def event(level: str, program: str, message: str) -> dict[str, Any]:
    """What happened now, with the fields that every line has."""
    return {"time": _iso(time.time()), "level": level, "logger": program, "message": message}


def _log_crash(
    kind: type[BaseException], error: BaseException | None, stack: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger("faceloom").critical(
        "%s: %s", kind.__name__, error, exc_info=(kind, error or kind(), stack)
    )


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    _log_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
