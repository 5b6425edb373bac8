"""The `faceloom` command: one module per group of commands, errors turned into one line here."""

import io
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command, get_group

from faceloom import __version__
from faceloom.cli import json_output
from faceloom.cli.faults import INTERRUPTED, Interrupted, line_of, usage_line
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.extras import how_to_install
from faceloom.core.logs import log_lines

# Which module of this package holds a command.
_MODULES = {
    "up": "up",
    "build": "build",
    "verify": "dataset",
    "report": "dataset",
    "dataset": "dataset",
    "demo": "demo",
    "generate": "generate",
    "classify": "pictures",
    "sketch": "pictures",
    "segment": "pictures",
    "translate": "translate",
    "serve": "serve",
    "serve-engine": "engine",
    "fetch-archive": "archive",
    "health": "health",
    "wait-closed": "health",
    "studio": "studio",
    "label": "label",
    "jobs": "jobs",
    "models": "models",
    "profile": "profile",
    "train": "train",
    "evaluate": "evaluate",
}
# Those that call running services.
_CLIENTS = {"build", "report", "generate", "classify", "sketch", "segment", "translate", "studio"}


class _Commands(Mapping[str, Any]):
    """Commands by name, imported when looked up: a front is installed without what a build needs."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"faceloom.cli.{_MODULES[name]}")
        part = typer.Typer(rich_markup_mode="rich")
        module.register(part)
        command = get_group(part).commands[name]
        if name in _CLIENTS:
            command.params += _client_options()
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


def _client_options() -> Any:
    from faceloom.cli.options import client_options

    part = typer.Typer(add_completion=False)
    part.command(context_settings={"help_option_names": []})(client_options)
    return get_command(part).params


class _Group(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]


app = typer.Typer(
    cls=_Group,
    help="Build synthetic face datasets with model-serving microservices.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"faceloom {__version__}")
        raise typer.Exit


@app.callback()
def _faceloom(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def run() -> None:
    """The console script. Exit code 0: done; 1: what was asked failed; 2: asked wrongly; 130: interrupted."""
    json_output.begin()
    _print_any_letter()
    # Pillow warns of odd metadata with a line of its own code. What spoils a picture is said of the file.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        code = _run_app()
    except Interrupted as error:
        _fail(str(error), INTERRUPTED)
    except FaceloomError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except TyperException as error:
        _fail(usage_line(error), 2)
    except ModuleNotFoundError as error:
        _fail(how_to_install(str(error.name)), 2)
    except BrokenPipeError:
        # Whoever read has enough, as in `faceloom ... | head`.
        sys.exit(1)
    except Exception as error:
        _fail(line_of(error), 1)
    if code == INTERRUPTED:
        _fail("interrupted", INTERRUPTED)
    sys.exit(code)


def _run_app() -> int:
    log_lines()
    try:
        # Else Typer ends the process, and says what was asked wrongly in a box of several lines.
        return app(standalone_mode=False) or 0
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            # A full disk, or nobody who reads: what is left shall not fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


def _print_any_letter() -> None:
    """A file's name that the terminal has no letters for is printed with escapes, instead of ending all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> NoReturn:
    if message:
        typer.echo(f"faceloom: {message}", err=True)
    json_output.print_failure(message)
    sys.exit(code)


if __name__ == "__main__":
    run()
