"""A gRPC server as every Faceloom process runs it: health, reflection, metrics, graceful stop."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from faceloom.core.errors import Unavailable
from faceloom.runtime.interceptor import RpcInterceptor
from faceloom.runtime.listening import check_can_listen, join_address, split_address
from faceloom.runtime.metrics import SECONDS, RpcMetrics
from faceloom.runtime.service import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_OPTIONS = [
    # Twice the limit: what is a little too large is refused by the front, which can say why.
    ("grpc.max_receive_message_length", 2 * MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 20_000),
    # Clients behind a headless Service find new pods only when they connect again.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 180_000),
    ("grpc.so_reuseport", 0),
]


class Server:
    """One listening process.

    The health of `""` is the process's own, for liveness; the health of the full service name says
    whether calls would be answered, for readiness.

    Args:
        service: What it serves.
        listen: HOST:PORT; an IPv6 address is in brackets, an empty host means all addresses.
        registry: What its metrics port shows; its own metrics are added.
        metrics_port: Where Prometheus reads; nowhere when not given.
        seconds: Bounds of the histogram of durations.

    Raises:
        UsageError: That is not an address and a port.
        FaceloomError: It cannot listen there; says why.
    """

    def __init__(
        self,
        service: ServiceDescriptor,
        listen: str,
        registry: CollectorRegistry,
        metrics_port: int | None,
        seconds: Sequence[float] = SECONDS,
    ) -> None:
        host, port = split_address(listen)
        if metrics_port is not None:
            check_can_listen(host, metrics_port)
        self._full_name = service.full_name
        self._registry = registry
        self._metrics_address = (metrics_port, host or "0.0.0.0")
        self._health = health.aio.HealthServicer()
        self._ready = False
        self._exposition: Any = None
        ProcessCollector(registry=registry)
        metrics = RpcMetrics(registry, seconds)
        metrics.expect(service)
        self.grpc = grpc.aio.server(interceptors=[RpcInterceptor(metrics)], options=_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection(
            (service.full_name, "grpc.health.v1.Health", reflection.SERVICE_NAME), self.grpc
        )
        # gRPC would not say why, and would be content with one of a name's addresses.
        check_can_listen(host, port)
        self.port = self.grpc.add_insecure_port(join_address(host or "::", port))

    async def start(self) -> None:
        """Listens. Not ready until `set_ready` says so."""
        await self._health.set("", SERVING)
        await self._health.set(self._full_name, NOT_SERVING)
        await self.grpc.start()
        port, host = self._metrics_address
        if port is not None:
            self._exposition, _ = start_http_server(port, host, self._registry)
        log.info("listening", extra={"service": self._full_name, "port": self.port})

    async def set_ready(self, ready: bool) -> None:
        """Changes the health of the service."""
        self._ready = ready
        await self._health.set(self._full_name, SERVING if ready else NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Turns readiness off, refuses new calls, and lets those in flight finish."""
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(grace)
        if self._exposition is not None:
            await asyncio.to_thread(self._exposition.shutdown)
            self._exposition.server_close()

    async def keep_ready(self, check: Callable[[], Awaitable[None]], interval: float = 1.0) -> None:
        """Follows `check` for ever: it returns when calls would be answered, and raises when not."""
        while True:
            try:
                await check()
            except Exception as error:
                # A check that fails in a new way must not end the following.
                if self._ready or not isinstance(error, Unavailable):
                    log.warning("not ready", extra={"cause": repr(error)})
                await self.set_ready(False)
            else:
                if not self._ready:
                    log.info("ready", extra={"service": self._full_name})
                await self.set_ready(True)
            await asyncio.sleep(interval)


async def until_stopped(
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Returns when the process is asked to stop."""
    stopped = asyncio.Event()
    for number in signals:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
