"""What several commands share: which engine to call, and how answers are printed."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from faceloom.client import Faceloom


class EngineKind(StrEnum):
    """Where models are executed."""

    TORCHSERVE = "torchserve"
    INPROCESS = "inprocess"


Engine = Annotated[
    EngineKind,
    typer.Option(help="Call the running services, or load the models into this process."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]


def connect(engine: EngineKind) -> Faceloom:
    """A client of the chosen engine."""
    if engine is EngineKind.TORCHSERVE:
        return Faceloom.connect()
    # Not at the top: it loads torch, which clients do without.
    from faceloom.inprocess import InProcessCaller

    return Faceloom(InProcessCaller())


def print_result(result: dict[str, Any], as_json: bool, text: str) -> None:
    """The outcome of a command, for a machine or for a person."""
    typer.echo(json.dumps(result) if as_json else text)
