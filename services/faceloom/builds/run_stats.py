"""What was spent on a build: seconds by part, and repeated calls, of every run and every worker.

Each that began to make shards leaves a record beside them when it ends, well or not, so that nothing is
forgotten with a process or a pod that is gone. Only who is killed with -9 leaves none.
"""

import json
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from faceloom.builds.cancellation import to_end
from faceloom.builds.stopwatch import Stopwatch
from faceloom.builds.storage.build import BuildStorage
from faceloom.core.errors import FaceloomError
from faceloom.core.wording import unreadable
from faceloom.datasets.layout import SPENT

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spent:
    """What any number of runs and workers spent.

    Args:
        seconds: By service and for encoding, committing, finalizing. Parts overlap.
        retries: Calls that had to be repeated, by service.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    retries: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def by(cls, stopwatch: Stopwatch) -> Self:
        """What one of them spent so far."""
        return cls(dict(stopwatch.seconds), dict(stopwatch.retries))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads a record.

        Raises:
            ValueError: It is none.
        """
        record = json.loads(data)
        try:
            seconds = {str(part): float(spent) for part, spent in record["seconds"].items()}
            retries = {str(name): int(count) for name, count in record["retries"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no record of what was spent: {unreadable(error)}") from None
        return cls(seconds, retries)

    def to_bytes(self) -> bytes:
        """A record."""
        return json.dumps({"seconds": self.seconds, "retries": self.retries}).encode() + b"\n"

    def __add__(self, other: "Spent") -> "Spent":
        seconds = Counter(self.seconds)
        seconds.update(other.seconds)
        retries = Counter(self.retries) + Counter(other.retries)
        return Spent(dict(seconds), dict(retries))


class Records:
    """What those spent that have ended; every record is read once.

    Args:
        storage: The place of the build.
    """

    def __init__(self, storage: BuildStorage) -> None:
        self._storage = storage
        self._read: set[str] = set()
        self._total = Spent()

    def total(self) -> Spent:
        """All of it, by now. What cannot be read is left out."""
        for name in self._storage.names(SPENT):
            if name not in self._read:
                try:
                    self._total += Spent.from_bytes(self._storage.read(name))
                except (OSError, ValueError):
                    continue
                self._read.add(name)
        return self._total


@asynccontextmanager
async def recorded(storage: BuildStorage, stopwatch: Stopwatch) -> AsyncIterator[None]:
    """However the block ends, a record of it is left."""
    try:
        yield
    finally:
        await record(storage, stopwatch)


async def record(storage: BuildStorage, stopwatch: Stopwatch) -> None:
    """Leaves a record in a place that is held. A build does not depend on it, so a failure is only logged."""
    name = f"{SPENT}/{uuid.uuid4().hex}.json"
    try:
        await to_end(storage.write_once, name, Spent.by(stopwatch).to_bytes())
    except (OSError, FaceloomError) as error:
        log.warning("what was spent is not recorded", extra={"cause": str(error)})
