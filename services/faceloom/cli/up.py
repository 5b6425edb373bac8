"""`faceloom up`: the whole stack on this machine, until Ctrl-C."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faceloom.runtime.logs import log_json
from faceloom.runtime.server import until_stopped
from faceloom.runtime.targets import Targets
from faceloom.stack import Stack
from faceloom.store.package import package_profile

PortOffset = Annotated[
    int, typer.Option(envvar="FACELOOM_PORT_OFFSET", help="Moves every port by this much.")
]


def up(
    profile: Annotated[str, typer.Option(help="Which models to serve.")] = "tiny",
    folder: Annotated[
        Path, typer.Option("--dir", help="Where logs and the index of builds go.")
    ] = Path("out/stack"),
    port_offset: PortOffset = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready.")
    ] = False,
) -> None:
    """Start TorchServe, all fronts and the pipeline service on loopback, until Ctrl-C.

    Example: [bold]faceloom up[/bold]
    """
    log_json()
    asyncio.run(_up(profile, folder, port_offset, as_json))


async def _up(profile: str, folder: Path, port_offset: int, as_json: bool) -> None:
    targets = Targets(port_offset=port_offset)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="faceloom-mar-") as archives:
        package_profile(profile, Path(archives))
        stack = Stack(Path(archives), folder, port_offset)
        stopping = asyncio.create_task(until_stopped())
        try:
            with console.status("starting TorchServe and the services"):
                starting = asyncio.create_task(stack.start())
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    starting.cancel()
                    return
                await starting
            where = {name: targets.of(name) for name in [*stack.services, "pipeline"]}
            if as_json:
                typer.echo(json.dumps({"ready": True, "targets": where, "logs": str(stack.logs)}))
            else:
                _announce(where, stack)
            supervising = asyncio.create_task(stack.supervise())
            await stopping
            supervising.cancel()
        finally:
            with console.status("stopping"):
                await stack.stop()


def _announce(where: dict[str, str], stack: Stack) -> None:
    for name, target in where.items():
        typer.echo(f"{name:<14}{target}")
    typer.echo(f"{'logs':<14}{stack.logs}")
    typer.echo("ready; Ctrl-C stops everything")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(up)
