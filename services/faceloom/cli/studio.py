"""`faceloom studio`: the web pages, in the foreground."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from prometheus_client import CollectorRegistry, start_http_server

from faceloom.cli.options import connect_pipeline, connect_services
from faceloom.core.errors import UsageError
from faceloom.core.logs import log_json
from faceloom.core.tracing import start_tracing
from faceloom.runtime.listening import check_can_listen, join_address, open_sockets
from faceloom.runtime.server import until_stopped

# Elsewhere only where they are needed: help is printed without aiohttp and sqlalchemy.
if TYPE_CHECKING:
    from faceloom.studio.datasets import Datasets
    from faceloom.studio.labels import LabelStore

log = logging.getLogger(__name__)

DEFAULT_LABELS = "sqlite:///out/labels.db"
# Answers that are under way when the process is asked to stop.
_GRACE_SECONDS = 10
# Longer than a service's restart, shorter than a person's patience with a page.
_WAIT_SECONDS = 10
_EVERY_ADDRESS = ("0.0.0.0", "::")

LabelsUrlOption = Annotated[
    str,
    typer.Option("--labels", envvar="FACELOOM_LABELS", help="sqlite:///FILE or postgresql://..."),
]


def studio(
    datasets: Annotated[
        Path,
        typer.Option(envvar="FACELOOM_DATASETS", help="The folder beneath which datasets lie."),
    ] = Path("out"),
    labels: LabelsUrlOption = DEFAULT_LABELS,
    host: Annotated[
        str,
        typer.Option(
            help="Name or address to listen on; empty for all. Whoever reaches it may label and order builds."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8600,
    metrics_port: Annotated[
        int | None,
        typer.Option(envvar="FACELOOM_METRICS_PORT", help="Port for Prometheus.", min=1, max=65535),
    ] = None,
) -> None:
    """Serve web pages to label faces, draw, look at datasets and order builds, until Ctrl-C.

    Example: [bold]faceloom studio --datasets out[/bold]
    """
    from faceloom.studio.datasets import Datasets

    log_json()
    start_tracing("studio")
    with label_store(labels) as store:
        asyncio.run(_serve(Datasets(datasets), store, host.strip("[]"), port, metrics_port))


def label_store(url: str, new: bool = True) -> "LabelStore":
    """The labels at the place that --labels names; see `LabelStore`."""
    from faceloom.studio.labels import LabelStore

    try:
        return LabelStore(url, new)
    except UsageError as error:
        raise UsageError(f"--labels, FACELOOM_LABELS: {error}") from None


async def _serve(
    datasets: "Datasets", labels: "LabelStore", host: str, port: int, metrics_port: int | None
) -> None:
    from aiohttp import web

    from faceloom.studio.app import studio_app
    from faceloom.studio.metrics import StudioMetrics

    registry = CollectorRegistry()
    async with (
        connect_services(wait=_WAIT_SECONDS) as faceloom,
        connect_pipeline(wait=_WAIT_SECONDS) as pipeline,
    ):
        app = studio_app(datasets, labels, faceloom, pipeline, StudioMetrics(registry))
        # What nobody waits for any more is not computed: a stroke overtakes the one before.
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=_GRACE_SECONDS, handler_cancellation=True
        )
        await runner.setup()
        try:
            if metrics_port is not None:
                check_can_listen(host, metrics_port)
            sockets = open_sockets(host, port)
            for one in sockets:
                await web.SockSite(runner, one).start()
            if metrics_port is not None:
                start_http_server(metrics_port, sockets[0].getsockname()[0], registry)
            _announce(host, sockets)
            await until_stopped()
        finally:
            await runner.cleanup()


def _announce(host: str, sockets: Sequence[socket.socket]) -> None:
    """Prints what to type into a browser."""
    addresses = [one.getsockname()[0] for one in sockets]
    everywhere = any(address in _EVERY_ADDRESS for address in addresses)
    port = sockets[0].getsockname()[1]
    typer.echo(f"http://{join_address('localhost' if everywhere else host, port)}")
    if everywhere:
        log.warning(
            "listens on every address: whoever reaches this machine may label and order builds",
            extra={"addresses": addresses, "port": port},
        )


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(studio)
