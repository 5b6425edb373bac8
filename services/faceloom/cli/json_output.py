"""Standard output for programs: with `--json`, one JSON object and nothing else, also when a command
fails."""

import json
import sys
from typing import Any

import typer

_printed = False


def begin() -> None:
    """Nothing has been printed yet."""
    global _printed
    _printed = False


def print_object(result: dict[str, Any]) -> None:
    """The object."""
    global _printed
    _printed = True
    typer.echo(json.dumps(result))


def print_failure(message: str) -> None:
    """Tells a program of an error that came before there was anything to print."""
    if "--json" in sys.argv[1:] and not _printed:
        print_object({"error": message})
