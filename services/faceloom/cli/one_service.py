"""What the commands that ask one service share: its model, its calls, and what its network itself answers."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import typer
from google.protobuf.message import Message
from rich.console import Console

from faceloom.cli.faults import Interrupted
from faceloom.cli.files import new_file, refuse_overwriting
from faceloom.cli.options import EngineKind, connect
from faceloom.cli.outcome import CommandOutcome
from faceloom.clients.client import Faceloom
from faceloom.core.errors import (
    TOO_MANY_ITEMS,
    FaceloomError,
    Internal,
    InvalidArgument,
    ServiceError,
    TooLarge,
    UsageError,
)
from faceloom.runtime.service import MAX_MESSAGE_BYTES
from faceloom.store.profile import model_folder, named_model

S = TypeVar("S")
T = TypeVar("T")
Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

# What is refused for these reasons may be answered in smaller calls.
_TOO_MUCH = (TOO_MANY_ITEMS, TooLarge.default_reason)

ModelOption = Annotated[
    str | None,
    typer.Option(help="An imported model, NAME or NAME/VERSION, or a profile's, by its name."),
]
RawOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="Also write what the network itself answers, float32; needs --engine inprocess.",
    ),
]


@dataclass(frozen=True)
class ServiceCall(Generic[S, T, Req, Res]):
    """How things are asked for, and what becomes of the answers.

    Args:
        at_once: How many things one call asks for at most.
        read: Makes of a source, a file for example, what is asked for. What it raises costs that source only.
        request: Makes the request for some things.
        send: Sends it.
        take: Is given the answer to some things.
        own: Fields of a request that one thing fills. A refusal that names one of them costs that thing only.
        options: What a person calls the other fields.
    """

    at_once: int
    read: Callable[[S], T]
    request: Callable[[Sequence[T]], Req]
    send: Callable[[Faceloom, Req], Awaitable[Res]]
    take: Callable[[Sequence[T], Res], None]
    own: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def is_about_one(self, error: ServiceError) -> bool:
        """Whether another thing might be answered where this one was refused."""
        if isinstance(error, TooLarge | Internal):
            return bool(self.own)
        return isinstance(error, InvalidArgument) and _head(error) in self.own

    def explained(self, error: ServiceError) -> FaceloomError:
        """A refusal that would meet every thing, in the words of the command line."""
        option = self.options.get(_head(error))
        return UsageError(f"{option}: {error.message}") if option else error


def _head(error: ServiceError) -> str:
    """The outermost field that an error names: `images` of `images[3].data`."""
    return re.split(r"[.\[]", error.field or "")[0]


class _Backlog(Generic[S, T]):
    """Things that are asked for next. They are read when their turn comes, a call's worth at a time."""

    def __init__(
        self, sources: Iterable[S], call: ServiceCall[S, T, Any, Any], outcome: CommandOutcome
    ) -> None:
        self._sources = iter(sources)
        self._service_call = call
        self._outcome = outcome
        self._read: list[tuple[S, T]] = []
        self._at_once = call.at_once
        # So many from the first one on are asked for one by one.
        self._alone = 0

    def call(self) -> list[T]:
        """What the next call asks for; nothing at the end."""
        wanted = 1 if self._alone else self._at_once
        while len(self._read) < wanted and self._read_next():
            pass
        some = [thing for _, thing in self._read[:wanted]]
        while len(some) > 1 and self._service_call.request(some).ByteSize() > MAX_MESSAGE_BYTES:
            some = some[: len(some) // 2]
        return some

    def answered(self, count: int) -> None:
        """The first things were answered."""
        del self._read[:count]
        self._alone = max(0, self._alone - count)

    def refused(self, count: int, error: ServiceError) -> None:
        """The first things were refused: fewer are asked for, or one by one, or the only one has failed.

        Raises:
            FaceloomError: The refusal would meet all others as well.
        """
        if count > 1 and error.reason in _TOO_MUCH:
            # How many it takes depends on the model, and only the service knows that.
            self._at_once = count // 2
        elif not self._service_call.is_about_one(error):
            raise self._service_call.explained(error)
        elif count > 1:
            self._alone = count
        else:
            guilty = str(self._read[0][0])
            self.answered(1)
            self._outcome.failed(guilty, FaceloomError(f"{guilty}: {error.message}"))

    def _read_next(self) -> bool:
        """Whether there was another source."""
        for source in self._sources:
            try:
                self._read.append((source, self._service_call.read(source)))
            except FaceloomError as error:
                self._outcome.failed(str(source), error)
            return True
        return False


@dataclass(frozen=True)
class OneService:
    """The service that a command asks, by what the command was told.

    Args:
        name: Its short name.
        engine: What computes.
        model: Which model; without it, the one that is served, or tiny's.
        raw: Where what the network itself answers is written, if anywhere.

    Raises:
        UsageError: Raw outputs are wanted of a network that is not in this process.
    """

    name: str
    engine: EngineKind
    model: str | None
    raw: Path | None

    def __post_init__(self) -> None:
        if self.raw and self.engine is not EngineKind.INPROCESS:
            raise UsageError("--raw reads the network in this process: add --engine inprocess")

    @property
    def model_version(self) -> str:
        """What requests say. A model that is loaded into this process is the only one there."""
        return self.model or "" if self.engine is EngineKind.TORCHSERVE else ""

    def protect(self, inputs: Sequence[Path], targets: Iterable[Path]) -> None:
        """Makes sure that neither results nor raw outputs are written over what is read, or over each other.

        Raises:
            UsageError: They would be.
        """
        refuse_overwriting(inputs, targets)
        if self.raw:
            refuse_overwriting(inputs, [self.raw], "--raw")
            if self.raw.suffix != ".npy":
                raise UsageError(f"--raw {self.raw}: raw outputs are written as a .npy file")

    def ask(
        self, sources: Iterable[S], call: ServiceCall[S, T, Req, Res], outcome: CommandOutcome
    ) -> dict[str, str]:
        """Asks for everything, then writes the raw outputs if they are wanted. How it went is in the outcome.

        Returns:
            What JSON says of it: the file of raw outputs, if one was written.
        """
        asked: list[Req] = []
        try:
            asyncio.run(self._call(sources, call, outcome, asked))
            if self.raw and outcome.errors:
                raise FaceloomError(f"{self.raw} is not written, for its rows are the files'")
            if self.raw:
                self._write_raw(self.raw, asked)
                return {"raw": str(self.raw)}
        except FaceloomError as error:
            outcome.end(error)
        except KeyboardInterrupt:
            outcome.end(Interrupted("interrupted"))
        return {}

    @property
    def _folder(self) -> Path:
        return named_model(self.name, self.model) if self.model else model_folder("tiny", self.name)

    async def _call(
        self,
        sources: Iterable[S],
        call: ServiceCall[S, T, Req, Res],
        outcome: CommandOutcome,
        asked: list[Req],
    ) -> None:
        models = {self.name: self._folder} if self.engine is EngineKind.INPROCESS else None
        backlog = _Backlog(sources, call, outcome)
        async with connect(self.engine, models) as faceloom:
            with outcome.bar:
                while some := backlog.call():
                    try:
                        answer = await call.send(faceloom, call.request(some))
                    except ServiceError as error:
                        backlog.refused(len(some), error)
                        continue
                    call.take(some, answer)
                    if self.raw:
                        # One by one, because the service may take no more; chunks are of one size anyway.
                        asked += [call.request([thing]) for thing in some]
                    backlog.answered(len(some))
                    outcome.succeeded(len(some))

    def _write_raw(self, target: Path, requests: Sequence[Req]) -> None:
        # Not at the top: who asks running services needs neither.
        import numpy as np

        from faceloom.clients.raw_outputs import raw_outputs

        with Console(stderr=True).status("computing what the network itself answers"):
            outputs = raw_outputs(self.name, self._folder, requests)
        with new_file(target) as file:
            np.save(file, outputs, allow_pickle=False)
