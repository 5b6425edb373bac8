"""How a build is shown: while it is made, and at its end."""

import time
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from faceloom.datasets.place import Output
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.summary import Summary

AGAIN = "the same command takes the build up again"


class BuildDisplay:
    """The progress bar of a build: rate, accepted share, time left."""

    def __init__(self, spec: BuildSpec, quiet: bool) -> None:
        self._spec = spec
        console = Console(stderr=True, quiet=quiet)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[rate]:.1f}/s"),
            TextColumn("accepted {task.fields[share]:.0%}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        what = "candidates" if spec.candidates else "accepted"
        self._task: TaskID = self.bar.add_task(what, total=spec.target, rate=0.0, share=0.0)

    def show(self, processed: int, kept: int, rate: float) -> None:
        """Moves the bar."""
        done = processed if self._spec.candidates else kept
        share = kept / processed if processed else 0.0
        self.bar.update(self._task, completed=done, rate=rate, share=share)


def print_notes(notes: Iterable[str]) -> None:
    """What a person should know about a run."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def outcome(
    output: Output, summary: Summary, rate: float, seconds: dict[str, float], started: float
) -> dict[str, Any]:
    """What `faceloom build --json` prints."""
    return {
        "output": str(output),
        **vars(summary),
        "images_per_second": round(rate, 3),
        "elapsed_seconds": round(time.monotonic() - started, 3),
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }
