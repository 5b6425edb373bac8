"""Stands around every RPC of a server: counts it, traces it, turns errors into status. Nothing else does."""

# grpc's classes are generic for type checkers only.
from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from faceloom.core.errors import Internal, Overloaded, ServiceError
from faceloom.core.request_id import take_request_id
from faceloom.core.tracing import begin_answer, end_answer
from faceloom.runtime.metrics import RpcMetrics

log = logging.getLogger(__name__)

# The longest a call is on its way, for telling a missed deadline from a change of mind.
_TRANSIT_SECONDS = 0.1

# Probes and tools come often and are not the service's work.
_UNCOUNTED = ("/grpc.health.", "/grpc.reflection.")


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """Metrics, spans and error translation for unary and server-streaming RPCs."""

    def __init__(self, metrics: RpcMetrics) -> None:
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None or path.startswith(_UNCOUNTED):
            return handler
        _, service, method = path.split("/")
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary, (service, method, "unary")),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return grpc.unary_stream_rpc_method_handler(
            self._stream(handler.unary_stream, (service, method, "server_stream")),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, behaviour: Any, labels: tuple[str, str, str]) -> Any:
        async def handle(request: Any, context: Any) -> Any:
            async with self._observed(labels, context):
                self._metrics.bytes_in.observe(_size(request))
                response = await behaviour(request, context)
                self._metrics.bytes_out.observe(_size(response))
                return response

        return handle

    def _stream(self, behaviour: Any, labels: tuple[str, str, str]) -> Any:
        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._observed(labels, context):
                self._metrics.bytes_in.observe(_size(request))
                async for response in behaviour(request, context):
                    self._metrics.bytes_out.observe(_size(response))
                    yield response

        return handle

    @asynccontextmanager
    async def _observed(self, labels: tuple[str, str, str], context: Any) -> AsyncIterator[None]:
        # Every RPC has a task of its own.
        metadata = dict(context.invocation_metadata() or ())
        take_request_id(metadata)
        span = begin_answer(labels[0], labels[1], metadata)
        series = self._metrics.of(*labels)
        series.started.inc()
        self._metrics.in_flight.inc()
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            yield
        except ServiceError as error:
            code = error.code
            # Of a full queue there are as many as clients care to send, and metrics count them.
            if not isinstance(error, Overloaded):
                said = {"rpc": labels[1], "code": code.name, "reason": error.reason}
                log.info("rpc refused", extra=said)
            await context.abort_with_status(rpc_status.to_status(error.to_status()))
        except asyncio.CancelledError:
            late = _deadline_passed(context)
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception as bug:
            code = grpc.StatusCode.INTERNAL
            error_id = uuid.uuid4().hex[:12]
            log.error("rpc failed", exc_info=bug, extra={"rpc": labels[1], "error_id": error_id})
            told = Internal(f"internal error {error_id}; see the service's log", reason="BUG")
            await context.abort_with_status(rpc_status.to_status(told.to_status()))
        finally:
            self._metrics.in_flight.dec()
            series.seconds.observe(time.perf_counter() - started)
            series.handled[code].inc()
            end_answer(span, code)


def _size(message: bytes | Message) -> int:
    return len(message) if isinstance(message, bytes) else message.ByteSize()


def _deadline_passed(context: Any) -> bool:
    """Whether a cancelled call ran out of time. The client's clock started first, so its goodbye often
    comes a moment before the deadline passes here."""
    remaining = context.time_remaining()
    return remaining is not None and remaining < _TRANSIT_SECONDS
