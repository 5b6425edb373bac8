"""`faceloom serve`: one process of the system in the foreground, as a container runs it."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from faceloom.builds.executors.registry import EXECUTORS, LOCAL
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.logs import log_json
from faceloom.core.tracing import start_tracing
from faceloom.runtime.front import Front
from faceloom.runtime.server import until_stopped
from faceloom.runtime.service import service
from faceloom.runtime.torchserve.engine import TorchServeEngine
from faceloom.runtime.torchserve.metrics import TorchServeMetrics

log = logging.getLogger(__name__)


def serve(
    name: Annotated[str, typer.Argument(help="A model service, or pipeline.")],
    listen: Annotated[
        str,
        typer.Option(
            envvar="FACELOOM_LISTEN", help="HOST:PORT to listen on; no host means all addresses."
        ),
    ] = "0.0.0.0:50051",
    metrics_port: Annotated[
        int | None,
        typer.Option(envvar="FACELOOM_METRICS_PORT", help="Port for Prometheus.", min=1, max=65535),
    ] = None,
    torchserve: Annotated[
        str, typer.Option(envvar="FACELOOM_TORCHSERVE", help="TorchServe's gRPC address.")
    ] = "127.0.0.1:7070",
    management: Annotated[
        str,
        typer.Option(envvar="FACELOOM_TORCHSERVE_MANAGEMENT", help="TorchServe's management URL."),
    ] = "http://127.0.0.1:8081",
    engine_metrics: Annotated[
        str, typer.Option(envvar="FACELOOM_TORCHSERVE_METRICS", help="URL of TorchServe's metrics.")
    ] = "http://127.0.0.1:8082/metrics",
    state: Annotated[
        Path, typer.Option(envvar="FACELOOM_STATE", help="The pipeline's index of builds.")
    ] = Path("out/stack/builds"),
    executor: Annotated[
        str,
        typer.Option(
            envvar="FACELOOM_EXECUTOR",
            help="Where the pipeline's builds are made.",
            metavar=f"<{'|'.join(EXECUTORS)}>",
        ),
    ] = LOCAL,
) -> None:
    """Run one front, or the pipeline service, in the foreground.

    Example: [bold]faceloom serve generator --listen 0.0.0.0:50051[/bold]
    """
    log_json()
    with _logging_the_end():
        start_tracing(name)
        if name == "pipeline":
            # Not at the top: fronts are installed without what a build needs.
            from faceloom.cli.serve_pipeline import serve_pipeline

            asyncio.run(serve_pipeline(listen, metrics_port, state, executor))
        else:
            metrics = TorchServeMetrics(name, engine_metrics)
            asyncio.run(_serve_front(name, listen, metrics_port, torchserve, management, metrics))


@contextmanager
def _logging_the_end() -> Iterator[None]:
    """What ends the process is a line of its log, and no other."""
    try:
        yield
    except UsageError:
        # Whoever asked wrongly is told as by every command.
        raise
    except FaceloomError as error:
        log.critical(str(error))
        raise typer.Exit(1) from None


async def _serve_front(
    name: str,
    listen: str,
    metrics_port: int | None,
    torchserve: str,
    management: str,
    engine_metrics: TorchServeMetrics,
) -> None:
    engine = TorchServeEngine(name, torchserve, management)
    front = Front(service(name), engine, listen, metrics_port, engine_metrics)
    await front.start()
    await until_stopped()
    await front.stop()


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)
