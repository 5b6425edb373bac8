"""What the commands that ask one service share: its model, its calls, and what its network itself answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import typer
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import Progress

from faceloom.cli.files import new_file
from faceloom.cli.options import EngineKind, connect
from faceloom.client import Faceloom
from faceloom.runtime.errors import (
    TOO_MANY_ITEMS,
    FaceloomError,
    InvalidArgument,
    ServiceError,
    TooLarge,
    UsageError,
)
from faceloom.store.profile import model_folder, named_model

T = TypeVar("T")
Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)

# What is refused for these reasons may be answered in smaller calls.
_TOO_MUCH = (TOO_MANY_ITEMS, TooLarge.default_reason)

Model = Annotated[
    str | None,
    typer.Option(help="An imported model, NAME or NAME/VERSION, or a profile's, by its name."),
]
Raw = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="Also write what the network itself answers, float32; needs --engine inprocess.",
    ),
]


@dataclass(frozen=True)
class Question(Generic[T, Req, Res]):
    """How some items are asked for, and what becomes of the answer.

    Args:
        at_once: How many items one call asks for at most.
        request: Makes the request for some items.
        send: Sends it.
        take: Is given the answer to some items.
        explain: What a refusal of some items means to the person who asked.
    """

    at_once: int
    request: Callable[[Sequence[T]], Req]
    send: Callable[[Faceloom, Req], Awaitable[Res]]
    take: Callable[[Sequence[T], Res], None]
    explain: Callable[[ServiceError, Sequence[T]], FaceloomError]


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

    def ask(self, items: Sequence[T], question: Question[T, Req, Res]) -> None:
        """Asks for all items, then writes the raw outputs if they are wanted.

        Raises:
            FaceloomError: There is no such model, a call failed, or a file cannot be written.
        """
        asyncio.run(self._call(items, question))
        if self.raw:
            # Not at the top: who asks running services needs neither.
            import numpy as np

            from faceloom.raw import raw_outputs

            with Console(stderr=True).status("computing what the network itself answers"):
                # One by one, because the service may take no more; chunks are of the same size anyway.
                requests = [question.request([item]) for item in items]
                outputs = raw_outputs(self.name, self._folder, requests)
            with new_file(self.raw) as file:
                np.save(file, outputs, allow_pickle=False)

    def report(self, result: dict[str, Any]) -> dict[str, Any]:
        """The outcome of the command, with the file of raw outputs if there is one."""
        return {**result, "raw": str(self.raw)} if self.raw else result

    @property
    def _folder(self) -> Path:
        return named_model(self.name, self.model) if self.model else model_folder("tiny", self.name)

    async def _call(self, items: Sequence[T], question: Question[T, Req, Res]) -> None:
        models = {self.name: self._folder} if self.engine is EngineKind.INPROCESS else None
        console = Console(stderr=True)
        bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        async with connect(self.engine, models) as faceloom:
            with bar:
                task = bar.add_task(self.name, total=len(items))
                rest, at_once = items, question.at_once
                while rest:
                    some = rest[:at_once]
                    try:
                        answer = await question.send(faceloom, question.request(some))
                    except (InvalidArgument, TooLarge) as error:
                        if len(some) == 1 or error.reason not in _TOO_MUCH:
                            raise question.explain(error, some) from None
                        # How many it takes depends on the model, and only the service knows that.
                        at_once = len(some) // 2
                        continue
                    question.take(some, answer)
                    rest = rest[len(some) :]
                    bar.advance(task, len(some))
