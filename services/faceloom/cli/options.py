"""What several commands share: which engine to call, and how answers are printed."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from faceloom.client import Faceloom
from faceloom.runtime.errors import UsageError
from faceloom.runtime.tracing import start_tracing


class EngineKind(StrEnum):
    """Where models are executed."""

    TORCHSERVE = "torchserve"
    INPROCESS = "inprocess"


Engine = Annotated[
    EngineKind,
    typer.Option(help="Call the running services, or load the models into this process."),
]
Profile = Annotated[
    str | None,
    typer.Option(help="Whose models are loaded, tiny by default; needs --engine inprocess."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]


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
        return Faceloom.connect()
    # Not at the top: it loads torch, which clients do without.
    from faceloom.inprocess import InProcessCaller

    return Faceloom(InProcessCaller(profile or "tiny", models))


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
    typer.echo(json.dumps(result) if as_json else text)
