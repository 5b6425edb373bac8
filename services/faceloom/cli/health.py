"""`faceloom health` and `wait-closed`: what kubelets and shutdown hooks ask of a process."""

import socket
import time
from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faceloom.core.errors import FaceloomError
from faceloom.core.proxies import channel_options

_POLL_SECONDS = 0.2


def health(
    target: Annotated[
        str, typer.Argument(help="gRPC address, or a service of faceloom up by its name.")
    ],
    name: Annotated[
        str, typer.Argument(metavar="SERVICE", help="Full name; without it, the process itself.")
    ] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 5,
    port_offset: Annotated[
        int | None,
        typer.Option(
            help="With a service's name: of faceloom up --port-offset, a multiple of 20;"
            " FACELOOM_PORT_OFFSET if not given."
        ),
    ] = None,
) -> None:
    """Ask a server for its health. Exit code 0: serving; 1: not.

    Example: [bold]faceloom health 127.0.0.1:50051 faceloom.generator.v1.GeneratorService[/bold]
    """
    if ":" not in target:
        target, name = _of_service(target, name, port_offset)
    with grpc.insecure_channel(target, channel_options(target)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=timeout)
        except grpc.RpcError as error:
            raise FaceloomError(f"{target}: {error.code().name} {error.details()}") from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise FaceloomError(f"{target}: {name or 'the process'} is {status}")
    typer.echo(status)


def _of_service(short: str, name: str, port_offset: int | None) -> tuple[str, str]:
    """Where a service is that was named in short, and its full name."""
    # Not at the top: probes, which give addresses, come often and shall cost little.
    from faceloom.runtime.service import service
    from faceloom.runtime.targets import PIPELINE_SERVICE, targets_at

    full = PIPELINE_SERVICE if short == "pipeline" else service(short).service
    return targets_at(port_offset).of(short), name or full


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
