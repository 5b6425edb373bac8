"""`faceloom studio`: the web pages, in the foreground."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from prometheus_client import CollectorRegistry, start_http_server

from faceloom.cli.options import connect_pipeline, connect_services
from faceloom.runtime.errors import FaceloomError
from faceloom.runtime.logs import log_json
from faceloom.runtime.server import until_stopped
from faceloom.runtime.tracing import start_tracing

# Elsewhere only where they are needed: help is printed without aiohttp and sqlalchemy.
if TYPE_CHECKING:
    from faceloom.studio.datasets import Datasets
    from faceloom.studio.labels import LabelStore

DEFAULT_LABELS = "sqlite:///out/labels.db"
# Answers that are under way when the process is asked to stop.
_GRACE_SECONDS = 10
# Longer than a service's restart, shorter than a person's patience with a page.
_WAIT_SECONDS = 10

LabelsUrl = Annotated[
    str,
    typer.Option("--labels", envvar="FACELOOM_LABELS", help="sqlite:///FILE or postgresql://..."),
]


def studio(
    datasets: Annotated[
        Path,
        typer.Option(envvar="FACELOOM_DATASETS", help="The folder beneath which datasets lie."),
    ] = Path("out"),
    labels: LabelsUrl = DEFAULT_LABELS,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; whoever reaches it may label and order builds."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8600,
    metrics_port: Annotated[
        int | None, typer.Option(envvar="FACELOOM_METRICS_PORT", help="Port for Prometheus.")
    ] = None,
) -> None:
    """Serve web pages to label faces, draw, look at datasets and order builds, until Ctrl-C.

    Example: [bold]faceloom studio --datasets out[/bold]
    """
    from faceloom.studio.datasets import Datasets
    from faceloom.studio.labels import LabelStore

    log_json()
    start_tracing("studio")
    with LabelStore(labels) as store:
        asyncio.run(_serve(Datasets(datasets), store, host, port, metrics_port))


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
            with _listening(host, port):
                await web.TCPSite(runner, host, port).start()
            if metrics_port is not None:
                with _listening(host, metrics_port):
                    start_http_server(metrics_port, host, registry)
            [address] = runner.addresses
            typer.echo(f"http://{address[0]}:{address[1]}")
            await until_stopped()
        finally:
            await runner.cleanup()


@contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    """Says in one line why a port cannot be had."""
    try:
        yield
    except OSError as error:
        # Not the error's own words: asyncio and the system differ in them.
        cause = os.strerror(error.errno) if error.errno else str(error)
        raise FaceloomError(f"cannot listen on {host}:{port}: {cause}") from None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(studio)
