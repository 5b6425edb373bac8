"""`faceloom health` and `wait-closed`: what kubelets and shutdown hooks ask of a process."""

import socket
import time
from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faceloom.runtime.errors import FaceloomError

_POLL_SECONDS = 0.2


def health(
    target: Annotated[str, typer.Argument(help="gRPC address.")],
    name: Annotated[
        str, typer.Argument(metavar="SERVICE", help="Full name; without it, the process itself.")
    ] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 5,
) -> None:
    """Ask a server for its health. Exit code 0: serving; 1: not.

    Example: [bold]faceloom health 127.0.0.1:50051 faceloom.generator.v1.GeneratorService[/bold]
    """
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=timeout)
        except grpc.RpcError as error:
            raise FaceloomError(f"{target}: {error.code().name} {error.details()}") from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise FaceloomError(f"{target}: {name or 'the process'} is {status}")
    typer.echo(status)


def wait_closed(
    port: Annotated[int, typer.Argument(help="A port of this machine.")],
    within: Annotated[float, typer.Option(help="Seconds after which waiting is given up.")],
) -> None:
    """Wait until nothing listens on a port any more, for example before an engine is stopped.

    Example: [bold]faceloom wait-closed 9090 --within 90[/bold]
    """
    until = time.monotonic() + within
    while _listening(port):
        if time.monotonic() > until:
            raise FaceloomError(f"something still listens on port {port} after {within:.0f} s")
        time.sleep(_POLL_SECONDS)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(health)
    app.command()(wait_closed)
