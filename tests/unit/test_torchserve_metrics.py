"""TorchServe's metrics, as it writes them, among a front's."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from faceloom.runtime.torchserve.metrics import TorchServeMetrics

# Of TorchServe 0.12 with two models.
TEXT = b"""# HELP Requests2XX Torchserve prometheus counter metric with unit: Count
# TYPE Requests2XX counter
Requests2XX{Level="Host",Hostname="vm",} 366.0
# HELP MemoryUsed Torchserve prometheus gauge metric with unit: Megabytes
# TYPE MemoryUsed gauge
MemoryUsed{Level="Host",Hostname="vm",} 5031.68359375
# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="sketch",model_version="default",hostname="vm",} 6.0
ts_inference_requests_total{model_name="generator",model_version="default",hostname="vm",} 5.0
# HELP PredictionTime Torchserve prometheus gauge metric with unit: ms
# TYPE PredictionTime gauge
PredictionTime{ModelName="generator",Level="Model",Hostname="vm",} 12947.69
"""


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers with `server.body`."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.body)  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def torchserve() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def shown(port: int, model: str) -> list[str]:
    registry = CollectorRegistry()
    registry.register(TorchServeMetrics(model, f"http://127.0.0.1:{port}/metrics"))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_a_front_shows_its_own_model_and_the_engine(torchserve: http.server.HTTPServer) -> None:
    torchserve.body = TEXT  # type: ignore[attr-defined]

    assert shown(torchserve.server_port, "sketch") == [
        'Requests2XX_total{Hostname="vm",Level="Host"} 366.0',
        'MemoryUsed{Hostname="vm",Level="Host"} 5031.68359375',
        'ts_inference_requests_total{hostname="vm",model_name="sketch",model_version="default"} 6.0',
    ]


@pytest.mark.parametrize("body", [b"<html>nothing</html>", b"\xff\xfe", b""])
def test_what_is_no_metric_is_left_out(torchserve: http.server.HTTPServer, body: bytes) -> None:
    torchserve.body = body  # type: ignore[attr-defined]

    assert shown(torchserve.server_port, "sketch") == []


def test_an_engine_that_is_gone_does_not_take_the_fronts_metrics_with_it() -> None:
    assert shown(1, "sketch") == []
