"""The id that a request carries through every process it passes, and through their logs."""

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

# The gRPC metadata that carries it.
REQUEST_ID = "x-request-id"

_GOOD = re.compile(r"[A-Za-z0-9._-]{1,128}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request that is being worked on here; empty outside of one."""
    return _current.get()


def new_request_id() -> str:
    """An id that no other request has."""
    return uuid.uuid4().hex


@contextmanager
def carrying_request_id() -> Iterator[str]:
    """What is done inside is one request, with the id it has already or a new one."""
    token = _current.set(_current.get() or new_request_id())
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def take_request_id(metadata: Mapping[str, str | bytes]) -> None:
    """The task works on one request from here on: the caller's id, or a new one where it gave none that
    could be an id."""
    given = metadata.get(REQUEST_ID, "")
    good = isinstance(given, str) and _GOOD.fullmatch(given)
    _current.set(str(given) if good else new_request_id())
