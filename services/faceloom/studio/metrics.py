"""Metrics of the studio."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from faceloom.runtime.metrics import SECONDS
from faceloom.studio.labels import Label


class StudioMetrics:
    """What the studio counts.

    Args:
        registry: Where it is shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "faceloom_http_requests_total",
            "Requests answered, by route, method and status.",
            ("route", "method", "code"),
            registry=registry,
        )
        self._seconds = Histogram(
            "faceloom_http_request_seconds",
            "Time until the answer begins.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._labels = Counter(
            "faceloom_studio_labels_total",
            "Labels that people gave, changed ones among them.",
            ("label",),
            registry=registry,
        )
        # Prometheus sees a first one only after a zero.
        for label in Label:
            self._labels.labels(label.value)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def labelled(self, label: Label) -> None:
        """Counts a label."""
        self._labels.labels(label.value).inc()
