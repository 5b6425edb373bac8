"""`faceloom dataset`: datasets that are finished."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from faceloom.cli.options import AsJson, print_result
from faceloom.pipeline.fetch import fetch
from faceloom.pipeline.storage.output import ObjectUrl, output_of
from faceloom.runtime.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Move finished datasets.")


@app.callback()
def _dataset() -> None:
    """Keeps `fetch` a command of its own while it is the only one."""


@app.command("fetch")
def fetch_command(
    source: Annotated[str, typer.Argument(help="s3://bucket/prefix of a finished dataset.")],
    folder: Annotated[Path, typer.Argument(help="Where to; the same command goes on from it.")],
    as_json: AsJson = False,
) -> None:
    """Bring a dataset from an object store into the folder that a local build would have made; verify it.

    Example: [bold]faceloom dataset fetch s3://bucket/faces faces[/bold]
    """
    url = output_of(source)
    if not isinstance(url, ObjectUrl):
        raise UsageError(f"{source} is here already; give s3://bucket/prefix")
    console = Console(stderr=True, quiet=as_json)
    columns = (
        TextColumn("shards"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("shards")
        summary = fetch(
            url,
            folder.resolve(),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    text = f"{summary.accepted} faces\ndataset {summary.dataset_digest}\n{folder}"
    print_result({"output": str(folder.resolve()), **vars(summary)}, as_json, text)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="dataset")
