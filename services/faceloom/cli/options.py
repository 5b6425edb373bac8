"""What several commands share: which engine to call, for how long, and how answers are printed."""

import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from faceloom.cli.json_output import print_object
from faceloom.clients.client import Faceloom
from faceloom.clients.pipeline import PipelineClient
from faceloom.core.errors import ServiceError, UsageError
from faceloom.core.tracing import start_tracing
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.retrying import WAIT_SECONDS, Retrying


class EngineKind(StrEnum):
    """Where models are executed."""

    TORCHSERVE = "torchserve"
    INPROCESS = "inprocess"


class TranslatorTask(StrEnum):
    """What a translator's encoder sees."""

    SKETCH = "sketch"
    SEGMENTATION = "segmentation"
    FACE = "face"


EngineOption = Annotated[
    EngineKind,
    typer.Option(help="Call the running services, or load the models into this process."),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(help="Whose models are loaded, tiny by default; needs --engine inprocess."),
]
AsJsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]

_NOTICE_SECONDS = 10


# What the command line says of clients.
_wait: ContextVar[float | None] = ContextVar("wait", default=None)
_port_offset: ContextVar[int | None] = ContextVar("port_offset", default=None)


def _keep_wait(value: float | None) -> None:
    _wait.set(value)


def _keep_port_offset(value: int | None) -> None:
    _port_offset.set(value)


def client_options(
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Try calls again for so long while a service is away or its queue is full; 60, but 5 for"
            " a service that has never answered.",
            callback=_keep_wait,
            expose_value=False,
        ),
    ] = None,
    port_offset: Annotated[
        int | None,
        typer.Option(
            help="Call the services of faceloom up --port-offset, a multiple of 20;"
            " FACELOOM_PORT_OFFSET if not given.",
            callback=_keep_port_offset,
            expose_value=False,
        ),
    ] = None,
) -> None:
    """The options of every command that calls services; the functions below obey them."""


def connect(
    engine: EngineKind, models: Mapping[str, Path] | None = None, profile: str | None = None
) -> Faceloom:
    """A client of the chosen engine.

    Args:
        engine: Where models are executed.
        models: Folders by service, of models that are loaded into this process in place of the profile's.
        profile: Whose models are loaded into this process; tiny's by default.
    """
    start_tracing("cli")
    if engine is EngineKind.TORCHSERVE:
        retrying = Retrying(_wait.get(), _Notices().tell, late=True)
        return Faceloom(ChannelCaller(port_offset=_port_offset.get(), retrying=retrying))
    # Not at the top: it loads torch, which clients do without.
    from faceloom.clients.in_process import InProcessCaller

    return Faceloom(InProcessCaller(profile or "tiny", models))


def connect_services(wait: float) -> Faceloom:
    """A client of the running model services, for people who wait at a page.

    Args:
        wait: As in `Faceloom.connect`, where the command line has no --wait.
    """
    return Faceloom.connect(
        port_offset=_port_offset.get(), wait=_wait_or(wait), notice=_Notices().tell
    )


def connect_pipeline(wait: float | None = None) -> PipelineClient:
    """A client of the running pipeline service; `wait` as in `connect_services`."""
    retrying = Retrying(_wait_or(wait), _Notices().tell)
    return PipelineClient(port_offset=_port_offset.get(), retrying=retrying)


def wait_seconds() -> float:
    """How long a service that answered before may stay away."""
    given = _wait.get()
    return WAIT_SECONDS if given is None else given


def _wait_or(default: float | None) -> float | None:
    given = _wait.get()
    return default if given is None else given


class _Notices:
    """Tells whoever sits at a terminal why nothing happens, now and then."""

    def __init__(self) -> None:
        self._silent_until = time.monotonic() + 1

    def tell(self, service: str, error: ServiceError) -> None:
        if time.monotonic() >= self._silent_until and sys.stderr.isatty():
            self._silent_until = time.monotonic() + _NOTICE_SECONDS
            # Not typer.echo, which does not know of a progress bar that is on the same terminal.
            print(f"waiting: {error.message}", file=sys.stderr)


def check_profile(engine: EngineKind, profile: str | None) -> None:
    """Makes sure that a profile is named only where it decides what is computed with.

    Raises:
        UsageError: The running services compute.
    """
    if profile and engine is EngineKind.TORCHSERVE:
        raise UsageError(
            "--profile loads models into this process: add --engine inprocess, or start the services with"
            f" faceloom up --profile {profile}"
        )


def print_result(result: dict[str, Any], as_json: bool, text: str) -> None:
    """The outcome of a command, for a machine or for a person."""
    if as_json:
        print_object(result)
    else:
        typer.echo(text)
