"""What ends a command beside its own errors: Ctrl-C, and what nobody expected, of which a person is told
one line, and where the rest is."""

import logging
import tempfile
import traceback
from pathlib import Path
from typing import Any

from faceloom.core.errors import FaceloomError
from faceloom.core.logs import JsonFormatter

# The exit code of what Ctrl-C ended, as shells have it.
INTERRUPTED = 130


class Interrupted(FaceloomError):
    """Ctrl-C ended a command; the message says how far it came."""


def usage_line(error: Any) -> str:
    """What Typer says of arguments that cannot be, in one line; empty where it has printed the help.

    Args:
        error: A `TyperException`.
    """
    said = " ".join(error.format_message().split()).partition(", unable to parse")[0]
    if not said:
        return ""
    said = said.replace("Value error, ", "").replace("Input should be", "give").removesuffix(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "faceloom"
    return f"{said}; {command} --help says more"


def line_of(error: Exception) -> str:
    """The line. Whatever it leaves out goes to the process's log, or to a file of its own."""
    if isinstance(error, OSError) and (line := _line_of_system(error)):
        return line
    what = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
    if any(isinstance(one.formatter, JsonFormatter) for one in logging.getLogger().handlers):
        logging.getLogger(__name__).critical("failed", exc_info=error)
        return f"a fault of Faceloom's, {what}; the log says where"
    if details := _details(error):
        return f"a fault of Faceloom's, {what}; {details} says where"
    return f"a fault of Faceloom's, {what}"


def _line_of_system(error: OSError) -> str | None:
    """What the system refused: a full disk, a folder that is not there, too many open files."""
    if error.strerror is None:
        return None
    if "temporary directory" in error.strerror:
        return "there is no folder for temporary files: set TMPDIR to one that can be written"
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _details(error: Exception) -> Path | None:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="faceloom-fault-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.writelines(traceback.format_exception(error))
        return Path(file.name)
    except OSError:
        return None
