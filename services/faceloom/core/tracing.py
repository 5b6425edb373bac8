"""Spans, from whoever calls to whoever computes; none are recorded until the environment says where they go.

Code here and elsewhere uses OpenTelemetry's API, which does nothing by itself. A process that is to record
calls `start_tracing`; a program that uses `faceloom.clients` with a tracer provider of its own gets the
client's spans in it. Where a span belongs travels as W3C Trace Context: in gRPC metadata, and in the envelope
to the engine.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from urllib.parse import urlsplit

import grpc
from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import ServiceError, UsageError
from faceloom.core.proxies import channel_options

TRACER = trace.get_tracer("faceloom")

_PROPAGATOR = TraceContextTextMapPropagator()
_PARENT = "traceparent"
_HEADERS = (_PARENT, "tracestate")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# Of what a server answers, what is its own fault, as OpenTelemetry's conventions for RPCs have it.
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


def start_tracing(name: str) -> None:
    """Sends this process's spans by OTLP over gRPC, if `OTEL_EXPORTER_OTLP_ENDPOINT` says where.

    OpenTelemetry's other variables mean what its specification says, `OTEL_SERVICE_NAME` and
    `OTEL_TRACES_SAMPLER` among them.

    Args:
        name: What the process is, for example `generator`.

    Raises:
        UsageError: Another protocol than gRPC is wanted.
        ModuleNotFoundError: The extra `tracing` is not installed.
    """
    endpoint = next((url for name in _ENDPOINTS if (url := os.environ.get(name))), None)
    if endpoint is None:
        return
    for protocol in _PROTOCOLS:
        if os.environ.get(protocol, "grpc") != "grpc":
            raise UsageError(
                f"{protocol}={os.environ[protocol]}: spans are sent by grpc only; unset it and give the"
                " collector's gRPC port, usually 4317"
            )
    # Not at the top: a process that records nothing does without them.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    described = {"service.name": f"faceloom-{name}", "service.version": version("faceloom")}
    # What the environment says of the process wins.
    resource = Resource.create(described).merge(OTELResourceDetector().detect())
    options = tuple(channel_options(urlsplit(endpoint).netloc or endpoint))
    exporter = OTLPSpanExporter(channel_options=options)  # type: ignore[arg-type] # its annotation is wrong
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def trace_id() -> str:
    """The trace that is being worked on here, 32 hexadecimal digits; empty outside of one."""
    found = trace.get_current_span().get_span_context()
    return trace.format_trace_id(found.trace_id) if found.is_valid else ""


@contextmanager
def calling(service: str, method: str) -> Iterator[dict[str, str]]:
    """What is done inside is one call of an RPC.

    Args:
        service: Full name, for example `faceloom.generator.v1.GeneratorService`.
        method: RPC name.

    Yields:
        Metadata that has to travel with the request.
    """
    path = f"{service}/{method}"
    with TRACER.start_as_current_span(
        path, kind=trace.SpanKind.CLIENT, attributes=_rpc(path), record_exception=False
    ) as span:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        try:
            yield carrier
        except ServiceError as error:
            span.set_attribute("rpc.response.status_code", error.code.name)
            raise


def begin_answer(service: str, method: str, metadata: Mapping[str, str | bytes]) -> trace.Span:
    """The task answers an RPC from here on, until `end_answer`.

    Args:
        service: Full name of the service.
        method: RPC name.
        metadata: What came with the request.
    """
    carrier = {key: value for key in _HEADERS if isinstance(value := metadata.get(key), str)}
    parent = _PROPAGATOR.extract(carrier, context.Context())
    path = f"{service}/{method}"
    span = TRACER.start_span(path, parent, trace.SpanKind.SERVER, _rpc(path))
    if span.get_span_context().is_valid:
        context.attach(trace.set_span_in_context(span, parent))
    return span


def end_answer(span: trace.Span, code: grpc.StatusCode) -> None:
    """The RPC has ended with that code."""
    span.set_attribute("rpc.response.status_code", code.name)
    if code in _FAULTS:
        span.set_status(trace.StatusCode.ERROR)
    span.end()


@contextmanager
def answering_http(method: str, route: str, headers: Mapping[str, str]) -> Iterator[trace.Span]:
    """What is done inside answers an HTTP request; set the status with `end_http`.

    Args:
        method: Of the request.
        route: What it asks for, without the values of parameters.
        headers: What came with it.
    """
    parent = _PROPAGATOR.extract(headers, context.Context())
    attributes = {"http.request.method": method, "http.route": route}
    with TRACER.start_as_current_span(
        f"{method} {route}", parent, trace.SpanKind.SERVER, attributes
    ) as span:
        yield span


def end_http(span: trace.Span, status: int) -> None:
    """The request was answered with that status."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(trace.StatusCode.ERROR)


def begin_inside(name: str) -> trace.Span:
    """A span in the one that is being worked in here; outside of one, nothing is recorded."""
    if trace.get_current_span().get_span_context().is_valid:
        return TRACER.start_span(name)
    return trace.INVALID_SPAN


def current_parent() -> str:
    """The span that is being worked in here, as `traceparent`; empty outside of one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_PARENT, "")


def record_batch(
    name: str,
    batch: engine_pb2.EngineBatch,
    results: Sequence[engine_pb2.EngineResult],
    times: Sequence[int],
) -> None:
    """Every call of a batch gets a span in its own caller's trace.

    Args:
        name: Of the service.
        batch: The calls.
        results: What became of them.
        times: Nanoseconds since the epoch at which decoding, predicting and encoding began, and the end.
    """
    attributes = {"faceloom.batch.calls": len(batch.calls)}
    for call, result in zip(batch.calls, results, strict=True):
        if not call.traceparent:
            continue
        parent = _PROPAGATOR.extract({_PARENT: call.traceparent}, context.Context())
        span = TRACER.start_span(
            f"{name} handler", parent, attributes=attributes, start_time=times[0]
        )
        if span.is_recording():
            inside = trace.set_span_in_context(span, parent)
            for part, start, end in zip(
                ("decode", "predict", "encode"), times[:-1], times[1:], strict=True
            ):
                TRACER.start_span(part, inside, start_time=start).end(end)
            if result.WhichOneof("outcome") == "error":
                span.set_status(trace.StatusCode.ERROR)
            span.end(times[-1])


def _rpc(path: str) -> dict[str, str]:
    return {"rpc.system.name": "grpc", "rpc.method": path}
