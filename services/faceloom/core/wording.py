"""Words for what people read: numbers of things, long texts, and what is wrong with a file of JSON."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

_LETTERS = 300


def counted(count: int, noun: str) -> str:
    """`1 fault`, `2 faults`, `1,000 faults`."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def shortened(text: str) -> str:
    """A text as one line, without its end if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


def said(value: Any) -> str:
    """A value of JSON in a sentence."""
    if value is None:
        return "nothing"
    return ", ".join(map(said, value)) if isinstance(value, list) else f"{value}"


def unreadable(error: Exception) -> str:
    """Why JSON that was read is not what it should be, from what its reader raised."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno} is no JSON"
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, TypeError | AttributeError):
        return "it has other fields than it should"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
        )
    return f"{error}"
