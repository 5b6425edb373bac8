"""Receives spans as a collector does, by OTLP over gRPC, and keeps them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs


@dataclass(frozen=True)
class Span:
    """A span, and which process it is from."""

    service: str
    proto: Any

    @property
    def name(self) -> str:
        return str(self.proto.name)

    @property
    def id(self) -> bytes:
        return bytes(self.proto.span_id)

    @property
    def parent(self) -> bytes:
        return bytes(self.proto.parent_span_id)

    @property
    def trace(self) -> str:
        return bytes(self.proto.trace_id).hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return {one.key: _plain(one.value) for one in self.proto.attributes}


@dataclass
class Collector(stubs.TraceServiceServicer):
    """What has come so far."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        for resource in request.resource_spans:
            about = {one.key: _plain(one.value) for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [Span(about["service.name"], span) for span in scope.spans]
        return pb.ExportTraceServiceResponse()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process send its spans here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector as long as the block."""
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    stubs.add_TraceServiceServicer_to_server(collector, server)
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


def _plain(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
