"""`faceloom serve-engine`: the TorchServe of one service, as a container runs it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from faceloom.core.errors import UsageError
from faceloom.runtime.limits import raise_file_limit
from faceloom.runtime.listening import check_free
from faceloom.runtime.ports import check_offset
from faceloom.runtime.service import service
from faceloom.runtime.torchserve.config import Ports
from faceloom.runtime.torchserve.process import torchserve_command


def serve_engine(
    name: Annotated[str, typer.Argument(help="A model service.")],
    archives: Annotated[
        Path, typer.Option(envvar="FACELOOM_ARCHIVES", help="Folder with its NAME.mar.")
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--dir", help="What TorchServe writes; emptied first. Keep the path short: sockets."
        ),
    ] = Path("/tmp/torchserve"),
    port_offset: Annotated[
        int,
        typer.Option(envvar="FACELOOM_PORT_OFFSET", help="Moves every port; a multiple of 20."),
    ] = 0,
) -> None:
    """Run TorchServe with one service's archive, on loopback. This process becomes TorchServe.

    Example: [bold]faceloom serve-engine generator --archives /models[/bold]
    """
    archive = archives / f"{name}.mar"
    if not archive.is_file():
        raise UsageError(f"{archive} is not there; faceloom models package makes it")
    ports = Ports().moved(check_offset(port_offset))
    check_free(ports.listening)
    raise_file_limit()
    command, environment = torchserve_command([service(name)], archives, folder, ports)
    os.chdir(folder)
    os.execve(command[0], command, environment)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve_engine)
