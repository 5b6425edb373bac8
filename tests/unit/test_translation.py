"""What TorchServe's answers mean: every row of the status map, with the words TorchServe 0.12 uses."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator

import grpc
import pytest

from faceloom.core.errors import Unavailable
from faceloom.runtime.torchserve.engine import TorchServeEngine, translate

S = grpc.StatusCode

ROWS = {
    "full queue": (
        S.INTERNAL,
        'Model "sketch" has no worker to serve inference request. Please use scale workers API to'
        " add workers.",
        (S.RESOURCE_EXHAUSTED, "ENGINE_QUEUE_FULL", True),
    ),
    "worker died": (S.INTERNAL, "Worker died.", (S.UNAVAILABLE, "WORKER_DIED", True)),
    "CUDA out of memory": (S.INTERNAL, "Out of resources", (S.RESOURCE_EXHAUSTED, "GPU_OOM", True)),
    "handler raised": (S.UNAVAILABLE, "Prediction failed", (S.INTERNAL, "HANDLER_BUG", False)),
    "unknown model": (
        S.INTERNAL,
        "Model not found: nosuch",
        (S.FAILED_PRECONDITION, "MODEL_NOT_LOADED", False),
    ),
    "request over max_request_size": (
        S.CANCELLED,
        "Received RST_STREAM with error code 8",
        (S.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", False),
    ),
    "token wanted": (S.PERMISSION_DENIED, "Token failure", (S.INTERNAL, "ENGINE_AUTH", False)),
    "nobody listens": (
        S.UNAVAILABLE,
        "failed to connect to all addresses; last error: Connection refused",
        (S.UNAVAILABLE, "ENGINE_DOWN", True),
    ),
    "hangs": (S.DEADLINE_EXCEEDED, "Deadline Exceeded", (S.UNAVAILABLE, "ENGINE_DOWN", True)),
    "anything else": (S.INTERNAL, "Something new", (S.INTERNAL, "ENGINE_ERROR", False)),
    "cancelled by someone": (S.CANCELLED, "", (S.INTERNAL, "ENGINE_ERROR", False)),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_torchserve_says_becomes_what_happened(row: str) -> None:
    code, details, (expected, reason, retryable) = ROWS[row]

    error = translate(code, details)

    assert (error.code, error.reason) == (expected, reason)
    assert (error.retry_after is not None) == retryable


class Management(http.server.BaseHTTPRequestHandler):
    """Answers DescribeModel with `server.body`; cut short when `server.cut`."""

    def do_GET(self) -> None:
        body: bytes = self.server.body  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + self.server.cut))  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def management() -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Management)
    server.body, server.cut = b"", 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def describe(*workers: str) -> bytes:
    described = [{"status": status, "pid": pid} for pid, status in enumerate(workers, 7)]
    return json.dumps([{"workers": described}]).encode()


async def check(server: http.server.HTTPServer) -> frozenset[int]:
    engine = TorchServeEngine("m", "127.0.0.1:1", f"http://127.0.0.1:{server.server_port}")
    try:
        return await engine.check()
    finally:
        await engine.close()


@pytest.mark.parametrize(
    ("workers", "ready"), [(["READY"], {7}), (["LOADING", "READY"], {8}), (["READY"] * 2, {7, 8})]
)
async def test_one_ready_worker_is_enough(
    management: http.server.HTTPServer, workers: list[str], ready: set[int]
) -> None:
    management.body = describe(*workers)  # type: ignore[attr-defined]

    assert await check(management) == ready


@pytest.mark.parametrize(
    ("body", "cut"),
    [
        (describe(), 0),
        (describe("UNLOADING"), 0),
        (describe("READY"), 10),
        (b"<html>", 0),
        (b"[]", 0),
        (b"{}", 0),
        (b'[{"workers": null}]', 0),
        (b'{"code": 404, "type": "ModelNotFoundException"}', 0),
    ],
)
async def test_anything_but_a_ready_worker_is_unavailable(
    management: http.server.HTTPServer, body: bytes, cut: int
) -> None:
    management.body, management.cut = body, cut  # type: ignore[attr-defined]

    with pytest.raises(Unavailable):
        await check(management)


async def test_a_torchserve_that_is_not_there_is_unavailable() -> None:
    engine = TorchServeEngine("m", "127.0.0.1:1", "http://127.0.0.1:1")

    with pytest.raises(Unavailable):
        await engine.check()

    await engine.close()
    await asyncio.sleep(0)
