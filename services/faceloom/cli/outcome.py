"""What becomes of the many things that one command is asked for: told as it happens, summed up at the end."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from faceloom.cli.faults import Interrupted
from faceloom.cli.options import print_result
from faceloom.core.errors import FaceloomError, UsageError

FailFastOption = Annotated[
    bool,
    typer.Option(
        "--fail-fast", help="End at the first file that fails. Without it, the others are done."
    ),
]


class CommandOutcome:
    """How far a command came.

    A person reads lines on standard output and errors on standard error, as they come. A program reads one
    JSON object on standard output at the end, whatever happened.

    Args:
        what: What the progress bar is called.
        total: How many things are asked for.
        as_json: Whether a program reads.
        fail_fast: Whether the first thing that fails ends the command.
    """

    def __init__(self, what: str, total: int, as_json: bool, fail_fast: bool = False) -> None:
        self.done = 0
        self.errors: list[dict[str, str]] = []
        self._total = total
        self._as_json = as_json
        self._fail_fast = fail_fast
        self._failures: list[FaceloomError] = []
        self._ended: FaceloomError | None = None
        console = Console(stderr=True)
        self.bar = Progress(
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # Lines go above the bar where both are on one terminal, and into the file otherwise.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self.bar.add_task(what, total=total)

    def say(self, line: str) -> None:
        """One result, for a person."""
        if not self._as_json:
            typer.echo(line)

    def succeeded(self, count: int) -> None:
        """So many things are done."""
        self.done += count
        self.bar.advance(self._task, count)

    def failed(self, name: str, error: FaceloomError) -> None:
        """One thing failed, and the others go on.

        Raises:
            FaceloomError: The same, when the first failure ends the command.
        """
        self.errors.append({"file": name, "error": str(error)})
        self._failures.append(error)
        self.bar.advance(self._task)
        if self._fail_fast:
            raise error
        # What is asked alone fails with the command's own last line.
        if self._total > 1:
            typer.echo(f"faceloom: {error}", err=True)

    def end(self, error: FaceloomError) -> None:
        """Something that is no single thing's fault ended the command."""
        self._ended = error

    def report(self, result: dict[str, Any], text: str | None = None) -> None:
        """Ends the command: prints the JSON object, or the text when all went well.

        Raises:
            FaceloomError: Not everything was done; a UsageError, if nothing was and all was asked wrongly.
        """
        problem = self._problem()
        if self._as_json:
            told = {} if problem is None else {"error": str(problem)}
            print_result({**result, "errors": self.errors, **told}, as_json=True, text="")
        elif problem is None and text is not None:
            typer.echo(text)
        if problem is not None:
            raise problem

    def _problem(self) -> FaceloomError | None:
        left = self._total - self.done
        if self._ended is not None:
            misused = not self.done and isinstance(self._ended, UsageError)
            if self._total == 1 or not left or misused:
                return self._ended
            kind = Interrupted if isinstance(self._ended, Interrupted) else FaceloomError
            return kind(f"{self._ended}; {self.done} of {self._total} done, {left} not")
        if not self._failures:
            return None
        if self._total == 1:
            return self._failures[0]
        misused = not self.done and all(isinstance(one, UsageError) for one in self._failures)
        kind = UsageError if misused else FaceloomError
        return kind(f"{len(self._failures)} of {self._total} files failed")
