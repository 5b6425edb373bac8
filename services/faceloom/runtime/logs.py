"""Logs as JSON lines on standard error: one object per event, no payloads."""

import json
import logging
import sys
from datetime import UTC, datetime

from faceloom.runtime.request_id import current_request_id
from faceloom.runtime.tracing import trace_id

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, the request's id and trace, and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _PLAIN},
        }
        if request_id := current_request_id():
            event.setdefault("request_id", request_id)
        if trace := trace_id():
            event["trace_id"] = trace
        if record.exc_info:
            event["stack"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def log_json(name: str = "") -> None:
    """Sends the logs of this process, or of the one package, to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
