"""Which builds the service knows: one small file per build, and nothing that the build's own folder says.

The files are the service's only state. Whoever kills it loses nothing: the next one reads them.
"""

import asyncio
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from faceloom.builds.progress import BuildPhase, BuildProgress
from faceloom.core.atomic_files import sync_folder, take_lock, write_atomically
from faceloom.core.errors import UsageError
from faceloom.core.wording import unreadable
from faceloom.datasets.place import Output, output_of
from faceloom.datasets.spec import BuildSpec


class State(Enum):
    """Where a build stands. The names are those of the API."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    FINALIZING = "FINALIZING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_STATES = {
    BuildPhase.PREPARING: State.PENDING,
    BuildPhase.RUNNING: State.RUNNING,
    BuildPhase.FINALIZING: State.FINALIZING,
    BuildPhase.DONE: State.FINALIZING,
}


def build_id(request_id: str) -> str:
    """The id of the build that a request makes."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class BuildOrder:
    """What a caller asked for. Two calls with one request_id must be equal in all of it.

    Args:
        request_id: Makes the call idempotent.
        spec: What to build.
        output: Where the dataset is to be.
        shards: As in `BuildOptions`.
        blocks: As in `BuildOptions`.
        retry_failed: As in `BuildOptions`.
        pool: As in `BuildOptions`.
    """

    request_id: str
    spec: BuildSpec
    output: Output
    shards: int | None
    blocks: int
    retry_failed: bool
    pool: Output | None = None

    @property
    def build_id(self) -> str:
        """Follows from the request_id, so one request cannot make two builds."""
        return build_id(self.request_id)


@dataclass(frozen=True)
class End:
    """How a build ended.

    Args:
        state: SUCCEEDED, FAILED or CANCELLED.
        error: Why it failed, in one line.
        time_ns: When, in nanoseconds since 1970.
        reason: Why it failed, as a constant.
        seconds: As in `BuildProgress`: whoever starts next need not read it from all of the build's records.
        retries: The same.
    """

    state: State
    error: str
    time_ns: int
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    retries: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildRecord:
    """What is remembered of a build.

    Args:
        order: What was asked for.
        create_time_ns: When, in nanoseconds since 1970.
        cancelled: It was asked to stop.
        end: Nothing while it runs or waits.
    """

    order: BuildOrder
    create_time_ns: int
    cancelled: bool = False
    end: End | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types."""
        data = asdict(self)
        # The name that these have in the API, and in records of all versions.
        data["order"]["jobs"] = data["order"].pop("blocks")
        data["order"]["output"] = str(self.order.output)
        data["order"]["pool"] = str(self.order.pool) if self.order.pool else None
        if self.end is not None:
            data["end"]["state"] = self.end.state.value
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "BuildRecord":
        """The record that `to_json` wrote."""
        order, end = data["order"], data["end"]
        order |= {"spec": BuildSpec(**order["spec"]), "output": output_of(order["output"])}
        order["blocks"] = order.pop("jobs")
        # Older records have none.
        order["pool"] = output_of(order["pool"]) if order.get("pool") else None
        if end is not None:
            end["state"] = State(end["state"])
        return cls(
            order=BuildOrder(**order),
            create_time_ns=data["create_time_ns"],
            cancelled=data["cancelled"],
            end=None if end is None else End(**end),
        )

    def taken_up(self) -> "BuildRecord":
        """The same build, to be run again."""
        return replace(self, cancelled=False, end=None)


@dataclass
class Build:
    """A build that the service knows, where it stands, and by which requests it is watched."""

    record: BuildRecord
    progress: BuildProgress
    dataset_digest: str = ""
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: Counter[str] = field(default_factory=Counter)

    @property
    def id(self) -> str:
        """Its id."""
        return self.record.order.build_id

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.record.end.state if self.record.end else _STATES[self.progress.phase]

    @property
    def output(self) -> Output:
        """Where the dataset is to be."""
        return self.record.order.output

    @property
    def age(self) -> tuple[int, str]:
        """Orders builds by age; no two are equal."""
        return self.record.create_time_ns, self.id

    def tell(self) -> None:
        """Wakes everybody who watches it."""
        self.changed.set()
        self.changed = asyncio.Event()


class BuildIndex:
    """The records in a folder, for one service at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def open(self) -> list[BuildRecord]:
        """Takes the folder and reads its records.

        Raises:
            UsageError: Another service has it, or a record was damaged.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = take_lock(self._folder / "lock")
        except BlockingIOError:
            raise UsageError(f"another pipeline service is using {self._folder}") from None
        for left_behind in self._folder.glob(".new-*"):
            left_behind.unlink()
        return [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def put(self, record: BuildRecord) -> None:
        """Writes a record, new or changed."""
        data = json.dumps(record.to_json(), indent=1).encode() + b"\n"
        write_atomically(self._path(record.order.build_id), data)

    def remove(self, build_id: str) -> None:
        """Forgets a record."""
        self._path(build_id).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _read(self, path: Path) -> BuildRecord:
        try:
            return BuildRecord.from_json(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is not the record of a build: {unreadable(error)}") from None

    def _path(self, build_id: str) -> Path:
        return self._folder / f"{build_id}.json"
