"""`faceloom verify`, `report` and `dataset`: datasets checked, looked at and brought here."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from faceloom.builds.fetch import fetch
from faceloom.builds.verification import verify as verify_dataset
from faceloom.cli.files import protect_dataset, refuse_overwriting
from faceloom.cli.options import (
    AsJsonOption,
    EngineKind,
    EngineOption,
    ProfileOption,
    check_profile,
    connect,
    print_result,
)
from faceloom.cli.select import select
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.wording import counted
from faceloom.datasets.place import ObjectUrl, local_dataset, output_of
from faceloom.datasets.verification import pixel_faults

app = typer.Typer(no_args_is_help=True, help="Work with finished datasets.")


@app.command("fetch")
def fetch_command(
    source: Annotated[str, typer.Argument(help="s3://bucket/prefix of a finished dataset.")],
    folder: Annotated[Path, typer.Argument(help="Where to; the same command goes on from it.")],
    as_json: AsJsonOption = False,
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
    text = f"{counted(summary.accepted, 'face')}\ndataset {summary.dataset_digest}\n{folder}"
    print_result({"output": str(folder.resolve()), **vars(summary)}, as_json, text)


def verify(
    dataset: Annotated[str, typer.Argument(help="Folder of a dataset, or s3://bucket/prefix.")],
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels", help="Decode the pictures, too, and hash their pixels; in a folder."
        ),
    ] = False,
    as_json: AsJsonOption = False,
) -> None:
    """Hash every file of a dataset again and name each fault.

    Example: [bold]faceloom verify faces[/bold]
    """
    output = output_of(dataset)
    if pixels and not isinstance(output, Path):
        raise UsageError(
            "--pixels is for folders; faceloom dataset fetch brings a dataset into one"
        )
    faults = verify_dataset(output)
    if pixels and isinstance(output, Path) and not faults:
        faults = pixel_faults(output)
    result = {"faults": [vars(fault) for fault in faults]}
    print_result(result, as_json, "\n".join(map(str, faults)) or f"{dataset} is intact")
    if faults:
        raise FaceloomError(f"{dataset} has {counted(len(faults), 'fault')}")


def report(
    dataset: Annotated[Path, typer.Argument(parser=local_dataset, help="Folder of a dataset.")],
    out: Annotated[Path, typer.Option("--out", help="The HTML file.")] = Path("report.html"),
    timings: Annotated[
        Path | None, typer.Option(help="What `faceloom build --json` printed.")
    ] = None,
    engine: EngineOption = EngineKind.TORCHSERVE,
    profile: ProfileOption = None,
) -> None:
    """Write a page to look at: faces, sketches, layouts, rejected faces, scores, timings, translations.

    Example: [bold]faceloom report faces --out report.html[/bold]
    """
    check_profile(engine, profile)
    protect_dataset(dataset, out, but=".html")
    if timings:
        refuse_overwriting([timings], [out])
    known = _build_result(timings) if timings else {}
    asyncio.run(_report(dataset, out, engine, profile, known))
    typer.echo(str(out))


def _build_result(timings: Path) -> dict[str, Any]:
    try:
        known = json.loads(timings.read_text().splitlines()[-1])
        return dict(known)
    except OSError as error:
        raise UsageError(f"--timings {timings}: {error.strerror}") from None
    except (ValueError, TypeError, IndexError):
        raise UsageError(
            f"--timings {timings} is not what `faceloom build --json` printed"
        ) from None


async def _report(
    dataset: Path, out: Path, engine: EngineKind, profile: str | None, known: dict[str, Any]
) -> None:
    with Console(stderr=True).status("translating faces and writing the page"):
        async with connect(engine, profile=profile) as faceloom:
            # Not at the top: it needs numpy and pillow.
            from faceloom.datasets.report import write_report

            await write_report(dataset, out, faceloom, known)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    for command in (verify, report):
        parent.command()(command)
    app.command()(select)
    parent.add_typer(app, name="dataset")
