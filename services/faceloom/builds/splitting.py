"""Lets services do their parts of a batch, whatever single candidates do to them.

A request that is refused is split until the candidate that spoils it is alone; that one becomes `Failed`, and
its neighbours go on as if it had never been there.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from faceloom.builds.candidate import Candidate
from faceloom.builds.retrying import PatientService, Refused
from faceloom.core.errors import InvalidArgument, TooLarge
from faceloom.datasets.outcomes import Failed, Outcome
from faceloom.runtime.service import service

log = logging.getLogger(__name__)

# What a service does to candidates.
Part = Callable[[Sequence[Candidate]], Awaitable[None]]


class SplittingServices:
    """The services of a build.

    Args:
        services: How each of them is called, by name.
        items_per_message: How many pictures fit into one message.
    """

    def __init__(self, services: Mapping[str, PatientService], items_per_message: int) -> None:
        self._services = services
        self._items = {name: min(service(name).max_items, items_per_message) for name in services}

    async def each(
        self,
        name: str,
        part: Part,
        candidates: Sequence[Candidate],
        ended: dict[int, Outcome],
    ) -> list[Candidate]:
        """Lets a service do its part; answers with those for which it did. The others are `ended`."""
        done: list[Candidate] = []
        for start in range(0, len(candidates), self._items[name]):
            some = candidates[start : start + self._items[name]]
            done += await self._split(name, part, some, ended, attempts=1)
        return done

    async def _split(
        self,
        name: str,
        part: Part,
        candidates: Sequence[Candidate],
        ended: dict[int, Outcome],
        attempts: int,
    ) -> list[Candidate]:
        try:
            await self._services[name].call(lambda: part(candidates), divisible=len(candidates) > 1)
            return list(candidates)
        except Refused as refused:
            error = refused.error
        log.warning(
            "a service refused candidates",
            extra={"service": name, "candidates": len(candidates), "cause": str(error)},
        )
        if len(candidates) == 1:
            (guilty,) = candidates
            # Other messages differ from time to time, and the dataset must not.
            detail = error.message if isinstance(error, InvalidArgument | TooLarge) else ""
            failed = Failed(
                guilty.ordinal, guilty.seed, guilty.id, name, error.reason, detail, attempts
            )
            ended[guilty.ordinal] = failed
            return []
        middle = len(candidates) // 2
        first = await self._split(name, part, candidates[:middle], ended, attempts + 1)
        return first + await self._split(name, part, candidates[middle:], ended, attempts + 1)
