"""The Prometheus metrics of a front. RPC metrics carry the names that go-grpc-prometheus made common, so
public dashboards fit."""

from collections.abc import Sequence

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from faceloom.common.v1 import model_pb2
from faceloom.core.errors import Overloaded
from faceloom.runtime.service import Service

# Prometheus knows when it first saw a series; a second one for each would double their number.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Bounds for durations of what has no budget.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Why a batch fails as a whole; others are possible.
ENGINE_REASONS = (
    "WORKER_DIED",
    "ENGINE_DOWN",
    "ENGINE_ERROR",
    "ENGINE_QUEUE_FULL",
    "HANDLER_BUG",
    "GPU_OOM",
)
_BYTES = tuple(float(2**power) for power in range(10, 26, 2))
_RPC = ("grpc_service", "grpc_method", "grpc_type")


class RpcSeries:
    """Rate, errors and duration of one RPC. Finding a series by its labels costs more than counting, so it is
    found once."""

    def __init__(self, metrics: "RpcMetrics", labels: tuple[str, str, str]) -> None:
        self.started = metrics.started.labels(*labels)
        self.seconds = metrics.seconds.labels(*labels)
        # Zeros for all of them: Prometheus sees a first error only after a zero.
        self.handled = {
            code: metrics.handled.labels(*labels, code.name) for code in grpc.StatusCode
        }


class RpcMetrics:
    """Rate, errors and duration of every RPC of a process."""

    def __init__(self, registry: CollectorRegistry, seconds: Sequence[float] = SECONDS) -> None:
        self._series: dict[tuple[str, str, str], RpcSeries] = {}
        self.started = Counter("grpc_server_started_total", "RPCs begun.", _RPC, registry=registry)
        self.handled = Counter(
            "grpc_server_handled_total",
            "RPCs ended, by status code.",
            (*_RPC, "grpc_code"),
            registry=registry,
        )
        self.seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the first byte in to the last byte out.",
            _RPC,
            buckets=seconds,
            registry=registry,
        )
        self.in_flight = Gauge(
            "faceloom_inflight_requests", "RPCs being handled.", registry=registry
        )
        message_bytes = Histogram(
            "faceloom_message_bytes",
            "Size of messages.",
            ("direction",),
            buckets=_BYTES,
            registry=registry,
        )
        self.bytes_in = message_bytes.labels("in")
        self.bytes_out = message_bytes.labels("out")

    def of(self, service: str, method: str, kind: str) -> RpcSeries:
        """The series of one RPC.

        Args:
            service: Full name.
            method: RPC name.
            kind: `unary` or `server_stream`.
        """
        labels = (service, method, kind)
        if labels not in self._series:
            self._series[labels] = RpcSeries(self, labels)
        return self._series[labels]

    def expect(self, service: ServiceDescriptor) -> None:
        """Shows the RPCs of a service before anybody calls them."""
        for method in service.methods:
            kind = "server_stream" if method.server_streaming else "unary"
            self.of(service.full_name, method.name, kind)


def seconds_for(service: Service) -> list[float]:
    """Bounds for durations of a service: its budget for one item is one of them, each is twice the one
    before, and the last is beyond the longest call."""
    bounds = [service.latency_budget_ms / 1000 / 8]
    while bounds[-1] < service.max_seconds:
        bounds.append(2 * bounds[-1])
    return bounds


class FrontMetrics:
    """What a front knows beyond its RPCs: its queue, its batches, its engine."""

    def __init__(self, registry: CollectorRegistry, service: Service) -> None:
        Gauge(
            "faceloom_call_budget_seconds",
            "What a call for as many items as the service allows should take at most.",
            registry=registry,
        ).set(service.latency_budget_ms / 1000 * service.max_items)
        Gauge("faceloom_queue_limit", "Calls that may wait for the engine.", registry=registry).set(
            service.max_queue
        )
        self.queue_length = Gauge(
            "faceloom_queue_length", "Calls waiting for the engine.", registry=registry
        )
        self.queue_seconds = Histogram(
            "faceloom_queue_seconds",
            "Time a call waited for the engine.",
            buckets=seconds_for(service),
            registry=registry,
        )
        self.batch_calls = Histogram(
            "faceloom_batch_calls",
            "Calls per engine batch.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.engine_busy = Counter(
            "faceloom_engine_busy_seconds_total",
            "Time that the engine spent on batches.",
            registry=registry,
        )
        self.engine_up = Gauge(
            "faceloom_engine_up", "1 when the engine passed its last check.", registry=registry
        )
        self.worker_restarts = Counter(
            "faceloom_worker_restarts_total",
            "Workers of the engine that took the place of another.",
            registry=registry,
        )
        self._refused = Counter(
            "faceloom_admission_refused_total",
            "Calls refused at the door, by reason.",
            ("reason",),
            registry=registry,
        )
        self._engine_errors = Counter(
            "faceloom_engine_errors_total",
            "Batches the engine failed as a whole, by reason.",
            ("reason",),
            registry=registry,
        )
        # Prometheus sees a first one only after a zero.
        self._refused.labels(Overloaded.default_reason)
        for reason in ENGINE_REASONS:
            self._engine_errors.labels(reason)
        self._model = Gauge(
            "faceloom_model_info",
            "Always 1; the labels name the model being served.",
            ("model", "version", "digest", "device"),
            registry=registry,
        )

    def refused(self, reason: str) -> None:
        """Counts a call that was not let in."""
        self._refused.labels(reason).inc()

    def engine_error(self, reason: str) -> None:
        """Counts a batch that came back as an error."""
        self._engine_errors.labels(reason).inc()

    def model(self, info: model_pb2.ModelInfo) -> None:
        """Names the model being served."""
        self._model.clear()
        self._model.labels(info.name, info.version, info.digest, info.device).set(1)
