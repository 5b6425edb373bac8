"""Tries calls again that a service could not take: one policy for the client, the commands and builds.

It is retry with exponential backoff and jitter. Every call is idempotent and may be repeated, even one that a
service had begun when it was lost: models answer the same request in the same way, and a call that changes
something at the pipeline service carries an id or names the state that it wants.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

from faceloom.core.errors import DeadlineExceeded, Overloaded, ServiceError, Unavailable
from faceloom.core.request_id import carrying_request_id

T = TypeVar("T")
Notice: TypeAlias = Callable[[str, ServiceError], None]

# The reason of an error when nobody answers at a service's address.
UNREACHABLE = "UNREACHABLE"

# The gRPC metadata that says how often the call was refused by a full queue, so that it is not again.
REFUSALS = "x-refusals"

WAIT_SECONDS = 60.0
"""How long calls are tried again when nobody says otherwise."""

# A service that never answered was probably not started. One that is being restarted is back by then.
_FIRST_WAIT_SECONDS = 5.0

_COUNT = re.compile("[0-9]{1,9}")
_refusals: ContextVar[int] = ContextVar("refusals", default=0)


def delay(tries: int, asked_for: float | None, first: float = 0.1, longest: float = 5.0) -> float:
    """Seconds to wait after a call has failed.

    Args:
        tries: How often it has failed, 1 or more.
        asked_for: What the service asked for (RetryInfo); counts if it is more than `longest`, too.
        first: Seconds after the first failure; doubled for every further one.
        longest: Where doubling ends.

    Returns:
        Up to half more than that, at random: clients that were refused together do not return together.
    """
    doubled = min(longest, first * 2.0 ** min(tries - 1, 30))
    return max(asked_for or 0.0, doubled) * random.uniform(1.0, 1.5)


def refusals() -> int:
    """How often a full queue has refused the call that is being made."""
    return _refusals.get()


def refusals_of(metadata: Iterable[tuple[str, str | bytes]]) -> int:
    """What a caller says of that in the metadata of its call; 0 where it says nothing that can be."""
    said = dict(metadata).get(REFUSALS, "")
    return int(said) if isinstance(said, str) and _COUNT.fullmatch(said) else 0


@contextmanager
def refused(times: int) -> Iterator[None]:
    """A call that is made inside was refused so often by a full queue."""
    token = _refusals.set(times)
    try:
        yield
    finally:
        _refusals.reset(token)


class Retrying:
    """Sends calls until they are answered, or `wait` is over.

    Args:
        wait: Seconds for which a call is tried again while its service does not answer (UNAVAILABLE) or its
            queue is full (RESOURCE_EXHAUSTED), from the first failure on; 0 tries once. Without it, 60, but
            5 for a service that has never answered.
        notice: Is told, before every pause, which service a call waits for, and its last answer.
        late: Whether a call whose time is over is tried again, too: a worker that is being restarted may
            have kept it waiting. For whoever has more time than one call.
    """

    def __init__(
        self, wait: float | None = None, notice: Notice | None = None, late: bool = False
    ) -> None:
        self._wait = wait
        self._notice = notice
        self._passing = (Unavailable, Overloaded, *([DeadlineExceeded] if late else []))
        self._answered: set[str] = set()

    async def call(self, service: str, send: Callable[[], Awaitable[T]]) -> T:
        """The answer to one call, however often it has to be sent.

        Raises:
            ServiceError: The last answer. When the call was tried again, the message says for how long.
        """
        # A build tries again itself, and counts on from there.
        tries, full = 0, refusals()
        failing_since = 0.0
        with carrying_request_id():
            while True:
                try:
                    with refused(full):
                        answer = await send()
                    self._answered.add(service)
                    return answer
                except self._passing as error:
                    if error.reason != UNREACHABLE:
                        self._answered.add(service)
                    now = time.monotonic()
                    failing_since = failing_since or now
                    tries += 1
                    full += isinstance(error, Overloaded)
                    left = failing_since + self._patience(service) - now
                    if left <= 0:
                        raise _given_up(error, now - failing_since, tries) from None
                    if self._notice:
                        self._notice(service, error)
                    await asyncio.sleep(min(left, delay(tries, error.retry_after)))

    def _patience(self, service: str) -> float:
        if self._wait is not None:
            return self._wait
        return WAIT_SECONDS if service in self._answered else _FIRST_WAIT_SECONDS


def _given_up(error: ServiceError, seconds: float, tries: int) -> ServiceError:
    if tries == 1:
        return error
    return type(error)(
        f"{error.message} (tried {tries} times in {seconds:.0f} s)",
        reason=error.reason,
        field=error.field,
        retry_after=error.retry_after,
    )
