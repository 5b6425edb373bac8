"""`faceloom up`: the whole stack on this machine, until Ctrl-C."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faceloom.core.errors import FaceloomError
from faceloom.core.logs import log_json
from faceloom.runtime.server import until_stopped
from faceloom.runtime.stack import Stack, check_ports
from faceloom.runtime.torchserve.scratch import scratch
from faceloom.store.package import package_profile
from faceloom.store.profile import model_folders, profile_services

PortOffsetOption = Annotated[
    int,
    typer.Option(
        envvar="FACELOOM_PORT_OFFSET",
        help="Moves every port, so that stacks run side by side; a multiple of 20.",
    ),
]


def up(
    profile: Annotated[str, typer.Option(help="Which models to serve.")] = "tiny",
    folder: Annotated[
        Path, typer.Option("--dir", help="Where logs and the index of builds go.")
    ] = Path("out/stack"),
    port_offset: PortOffsetOption = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready.")
    ] = False,
) -> None:
    """Start TorchServe, all fronts and the pipeline service on loopback, until Ctrl-C.

    Example: [bold]faceloom up[/bold]
    """
    # Before anything that takes time.
    check_ports(port_offset)
    log_json()
    with _packaged(profile) as archives:
        asyncio.run(_up(Stack(archives, folder, port_offset), as_json))


@contextmanager
def _packaged(profile: str) -> Iterator[Path]:
    """A folder with the profile's archives, as long as the block."""
    folders = [
        folder for name in profile_services(profile) for folder in model_folders(profile, name)
    ]
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    # TorchServe unpacks what is packed.
    with scratch(2 * size) as archives:
        try:
            package_profile(profile, archives)
        except OSError as error:
            place = error.filename or archives
            raise FaceloomError(
                f"the models cannot be packaged: {place}: {error.strerror}"
            ) from None
        yield archives


async def _up(stack: Stack, as_json: bool) -> None:
    console = Console(stderr=True)
    stopping = asyncio.create_task(until_stopped())
    starting = asyncio.create_task(stack.start())
    try:
        with console.status("starting TorchServe and the services"):
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return
            await starting
        if as_json:
            ready = {"ready": True, "targets": stack.targets, "logs": str(stack.logs)}
            typer.echo(json.dumps(ready))
        else:
            _announce(stack)
        supervising = asyncio.create_task(stack.supervise())
        await stopping
        supervising.cancel()
    finally:
        with console.status("stopping"):
            starting.cancel()
            await asyncio.wait({starting})
            await stack.stop()


def _announce(stack: Stack) -> None:
    for name, target in stack.targets.items():
        typer.echo(f"{name:<14}{target}")
    # A path may have bytes that are no text.
    typer.echo(f"{'logs':<14}{os.fsencode(stack.logs).decode(errors='replace')}")
    typer.echo("ready; Ctrl-C stops everything")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(up)
