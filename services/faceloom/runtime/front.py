"""The typed gRPC server of a model service. One class serves them all: it forwards bytes.

The client's message travels to the engine as it came, so there is no second encoding and nothing here
knows what is in it. What a front adds is everything around the model: admission, batching, deadlines,
health, metrics.
"""

import asyncio
import logging

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import ServiceError, TooLarge, Unavailable
from faceloom.core.request_id import current_request_id
from faceloom.runtime.admission import Admission
from faceloom.runtime.engine import Engine, warm_up
from faceloom.runtime.metrics import FrontMetrics, seconds_for
from faceloom.runtime.retrying import refusals_of
from faceloom.runtime.server import Server
from faceloom.runtime.service import MAX_MESSAGE_BYTES, Service

log = logging.getLogger(__name__)


class Front:
    """Serves one model service from one engine.

    Args:
        service: Which one.
        engine: What computes.
        listen: Address and port.
        metrics_port: Where Prometheus reads; nowhere when not given.
        engine_metrics: The engine's own metrics, to be shown with the front's.
    """

    def __init__(
        self,
        service: Service,
        engine: Engine,
        listen: str,
        metrics_port: int | None = None,
        engine_metrics: Collector | None = None,
    ) -> None:
        registry = CollectorRegistry()
        if engine_metrics is not None:
            registry.register(engine_metrics)
        self._service = service
        self._engine = engine
        self._metrics = FrontMetrics(registry, service)
        self._server = Server(
            service.descriptor, listen, registry, metrics_port, seconds_for(service)
        )
        self._server.grpc.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    service.service,
                    {
                        method: grpc.unary_unary_rpc_method_handler(self._forwarder(method))
                        for method in service.methods
                    },
                ),
            )
        )
        self._warm = False
        self._workers: frozenset[int] = frozenset()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Listens, and follows the engine's state from now on."""
        self._admission = Admission(self._service, self._engine, self._metrics)
        await self._server.start()
        self._readiness = asyncio.create_task(self._server.keep_ready(self._check))

    async def stop(self, grace: float | None = None) -> None:
        """Drains: no call that was let in is lost, unless it takes longer than `grace` seconds."""
        self._readiness.cancel()
        await self._server.stop(self._service.max_seconds if grace is None else grace)
        await self._admission.close()

    def _forwarder(self, method: str):  # type: ignore[no-untyped-def]
        async def forward(request: bytes, context: grpc.aio.ServicerContext) -> bytes:  # type: ignore[type-arg]
            if len(request) > MAX_MESSAGE_BYTES:
                raise TooLarge(
                    f"the request is {len(request)} bytes; the limit is {MAX_MESSAGE_BYTES}",
                    field="(message)",
                )
            remaining = context.time_remaining()
            limit = self._service.max_seconds
            call = engine_pb2.EngineCall(
                method=method, request=request, request_id=current_request_id()
            )
            refused = refusals_of(context.invocation_metadata() or ())
            timeout = limit if remaining is None else min(remaining, limit)
            return await self._admission.submit(call, timeout, refused)

        return forward

    async def _check(self) -> None:
        """Ready means: a worker is there, and since it came it has computed something."""
        try:
            self._notice(await self._engine.check())
            if not self._warm:
                self._metrics.model(await warm_up(self._engine))
        except Exception as error:
            # What comes back may be another worker, so it has to prove itself again.
            self._warm = False
            self._metrics.engine_up.set(0)
            if isinstance(error, ServiceError):
                raise Unavailable(error.message) from None
            raise
        self._warm = True
        self._metrics.engine_up.set(1)

    def _notice(self, workers: frozenset[int]) -> None:
        """A worker may die and be replaced between two looks."""
        new = workers - self._workers
        if self._workers and new:
            log.warning("workers were replaced", extra={"workers": len(new)})
            self._metrics.worker_restarts.inc(len(new))
            self._warm = False
        self._workers = workers
