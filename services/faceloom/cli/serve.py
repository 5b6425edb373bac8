"""`faceloom serve`: one process of the system in the foreground, as a container runs it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from faceloom.client import Faceloom
from faceloom.pipeline.builds import BuildIndex
from faceloom.pipeline.executors.local import LocalExecutor
from faceloom.pipeline.server import FULL_NAME, PipelineServicer
from faceloom.pipeline.v1.pipeline_pb2_grpc import add_PipelineServiceServicer_to_server
from faceloom.runtime.front import Front
from faceloom.runtime.logs import log_json
from faceloom.runtime.server import Server, until_stopped
from faceloom.runtime.service import service
from faceloom.runtime.torchserve.engine import TorchServeEngine

_WATCHERS_GRACE_SECONDS = 1.0


def serve(
    name: Annotated[str, typer.Argument(help="A model service, or pipeline.")],
    listen: Annotated[
        str, typer.Option(envvar="FACELOOM_LISTEN", help="Address to listen on.")
    ] = "0.0.0.0:50051",
    metrics_port: Annotated[
        int | None, typer.Option(envvar="FACELOOM_METRICS_PORT", help="Port for Prometheus.")
    ] = None,
    torchserve: Annotated[
        str, typer.Option(envvar="FACELOOM_TORCHSERVE", help="TorchServe's gRPC address.")
    ] = "127.0.0.1:7070",
    management: Annotated[
        str,
        typer.Option(envvar="FACELOOM_TORCHSERVE_MANAGEMENT", help="TorchServe's management URL."),
    ] = "http://127.0.0.1:8081",
    state: Annotated[
        Path, typer.Option(envvar="FACELOOM_STATE", help="The pipeline's index of builds.")
    ] = Path("out/stack/builds"),
) -> None:
    """Run one front, or the pipeline service, in the foreground.

    Example: [bold]faceloom serve generator --listen 0.0.0.0:50051[/bold]
    """
    log_json()
    if name == "pipeline":
        asyncio.run(_serve_pipeline(listen, metrics_port, state))
    else:
        asyncio.run(_serve_front(name, listen, metrics_port, torchserve, management))


async def _serve_front(
    name: str, listen: str, metrics_port: int | None, torchserve: str, management: str
) -> None:
    front = Front(
        service(name), TorchServeEngine(name, torchserve, management), listen, metrics_port
    )
    await front.start()
    await until_stopped()
    await front.stop()


async def _serve_pipeline(listen: str, metrics_port: int | None, state: Path) -> None:
    server = Server(FULL_NAME, listen, CollectorRegistry(), metrics_port)
    async with Faceloom.connect() as faceloom:
        executor = LocalExecutor(BuildIndex(state), faceloom)
        add_PipelineServiceServicer_to_server(PipelineServicer(executor), server.grpc)
        await executor.start()
        await server.start()
        await server.set_ready(True)
        await until_stopped()
        # Builds are taken up by the next process; whoever watches is told to come back.
        await executor.stop()
        await server.stop(_WATCHERS_GRACE_SECONDS)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)
