"""Calls a service the way a long build must: with patience for its restarts and respect for its queue.

It tells apart what will pass (try again), what is the request's own fault (`Refused`: the caller splits it),
and what makes going on pointless (raised as it is: the build stops, and can be taken up again).
That is retry with exponential backoff, and an adaptive limit of concurrency (AIMD, as in TCP).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from faceloom.builds.stopwatch import Stopwatch
from faceloom.core.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.core.request_id import carrying_request_id
from faceloom.runtime.retrying import delay, refused

log = logging.getLogger(__name__)

T = TypeVar("T")

# A request that fails so often while the service answers others is what makes it fail. One that can be
# divided is divided at once: that costs little if it was innocent.
STRIKES = 3


class Refused(Exception):
    """The request will never be answered as it is; a part of it may be."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class Patience:
    """How long to wait for services.

    Args:
        silence: Seconds without any answer from a service after which a build stops.
        first_delay: Seconds before the first repetition; doubled for every further one.
        longest_delay: Where doubling ends.
    """

    silence: float = 120.0
    first_delay: float = 0.1
    longest_delay: float = 5.0

    def delay(self, tries: int, asked_for: float | None) -> float:
        """Seconds to wait after that many tries, as in `retrying.delay`."""
        return delay(tries, asked_for, self.first_delay, self.longest_delay)


# In a cluster: a service's new pod may have to wait for a node, and take ten minutes to load its model.
PATIENT_WITH_PODS = Patience(silence=900.0)


class PatientService:
    """One service, shared by all blocks of a build.

    Calls in flight are limited: the limit is halved when the service says that its queue is full, or when an
    answer did not come in time, and grows by one for every round of answers.
    """

    def __init__(self, name: str, in_flight: int, patience: Patience, stopwatch: Stopwatch) -> None:
        self._name = name
        self._patience = patience
        self._stopwatch = stopwatch
        self._answers = 0
        self._most = float(in_flight)
        self._limit = float(in_flight)
        self._running = 0
        self._room = asyncio.Condition()
        self._silent_since: float | None = None

    async def call(self, send: Callable[[], Awaitable[T]], *, divisible: bool = False) -> T:
        """The answer to one request, however often it has to be sent.

        Args:
            send: Sends it.
            divisible: It asks for several things, which could be asked for apart.

        Raises:
            Refused: The request itself is the reason that there is no answer.
            ServiceError: The service is gone, or is not what the build began with.
        """
        with carrying_request_id():
            return await self._call(send, divisible)

    async def _call(self, send: Callable[[], Awaitable[T]], divisible: bool) -> T:
        tries = strikes = full = 0
        answers_before = self._answers
        while True:
            try:
                async with self._slot():
                    with refused(full):
                        return await self._answer(send)
            except (Unavailable, Overloaded, DeadlineExceeded) as error:
                now = time.monotonic()
                self._silent_since = self._silent_since or now
                if now - self._silent_since > self._patience.silence:
                    raise
                tries += 1
                answers_others = tries > 1 and self._answers > answers_before
                answers_before = self._answers
                late, overloaded = (isinstance(error, k) for k in (DeadlineExceeded, Overloaded))
                full += overloaded
                if late or overloaded:
                    self._limit = max(1.0, self._limit / 2)
                if not overloaded and (answers_others or (late and divisible)):
                    strikes += 1
                if strikes >= (1 if divisible else STRIKES):
                    raise Refused(error) from error
                self._stopwatch.retries[self._name] += 1
                log.info("trying again", extra={"service": self._name, "cause": error.message})
                await asyncio.sleep(self._patience.delay(tries, error.retry_after))
            except (Internal, InvalidArgument, TooLarge) as error:
                raise Refused(error) from error

    async def _answer(self, send: Callable[[], Awaitable[T]]) -> T:
        with self._stopwatch(self._name):
            answer = await send()
        self._answers += 1
        self._silent_since = None
        self._limit = min(self._most, self._limit + 1 / self._limit)
        return answer

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._room:
            await self._room.wait_for(lambda: self._running < int(self._limit))
            self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            async with self._room:
                self._room.notify_all()
