"""`faceloom demo`: the whole road once, from packaged archives to a page to look at."""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from faceloom.builds.options import BuildOptions
from faceloom.cli.build_display import BuildDisplay
from faceloom.cli.build_service import build_in_service
from faceloom.cli.spec import spec_of
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FaceloomError
from faceloom.datasets.spec import BuildSpec
from faceloom.runtime.stack import CLIENTS_ENVIRONMENT, Stack, check_ports, free_port_offset
from faceloom.store.package import package_profile


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything.")] = Path("out/demo"),
    candidates: Annotated[int, typer.Option(help="How many faces to generate.")] = 256,
    port_offset: Annotated[
        int | None,
        typer.Option(help="Moves every port, as of faceloom up; one at which all are free."),
    ] = None,
) -> None:
    """Start everything, build a small dataset through TorchServe, translate its drawings, write a report,
    stop everything.

    Example: [bold]faceloom demo --out out/demo[/bold]
    """
    try:
        result = asyncio.run(_demo(out.resolve(), spec_of(candidates), port_offset))
    except OSError as error:
        raise FaceloomError(f"{error.filename or out}: {error.strerror}") from None
    typer.echo(
        f"{result['accepted']} of {result['planned']} faces kept,"
        f" {result['images_per_second']:.1f} candidates/s\n"
        f"dataset  {out / 'dataset'}\nreport   {out / 'report.html'}"
    )


async def _demo(out: Path, spec: BuildSpec, port_offset: int | None) -> dict[str, Any]:
    offset = free_port_offset() if port_offset is None else port_offset
    # Before anything of an earlier demo is removed.
    check_ports(offset)
    _clear(out)
    # Its own services are meant, wherever others are.
    for name in CLIENTS_ENVIRONMENT:
        os.environ.pop(name, None)
    os.environ["FACELOOM_PORT_OFFSET"] = str(offset)
    console = Console(stderr=True)
    archives = out / "archives"
    console.print("packaging the model archives")
    package_profile("tiny", archives)
    stack = Stack(archives, out / "stack", offset)
    try:
        console.print("starting TorchServe and the services")
        await stack.start()
        console.print(f"building a dataset of {spec.candidates} candidates")
        display = BuildDisplay(spec, quiet=False)
        result = await build_in_service(spec, out / "dataset", BuildOptions(), display)
        (out / "build.json").write_text(json.dumps(result) + "\n")
        console.print("translating its drawings and writing the report")
        async with Faceloom.connect() as faceloom:
            # Not at the top: help is printed without numpy and pillow.
            from faceloom.datasets.report import write_report

            await write_report(out / "dataset", out / "report.html", faceloom, result)
    finally:
        await stack.stop()
    return result


def _clear(out: Path) -> None:
    """Removes an earlier demo, and nothing else.

    Raises:
        FaceloomError: The folder holds something that no demo wrote.
    """
    known = {"archives", "stack", "dataset", "build.json", "report.html"}
    if out.exists():
        strangers = {path.name for path in out.iterdir()} - known
        if strangers:
            raise FaceloomError(f"{out} holds {', '.join(sorted(strangers))}; choose another --out")
        shutil.rmtree(out)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)
