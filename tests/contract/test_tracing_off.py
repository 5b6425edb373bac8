"""Tracing that is off, or cannot be what was asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import rpc
from tests.contract.fronts import Serve, free_port, generate, ready
from tests.fakes import FakeEngine

_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("given", [_TRACEPARENT, "00-nonsense", ""])
async def test_a_front_that_records_nothing_hands_the_callers_span_on(
    serve: Serve, given: str
) -> None:
    engine = FakeEngine()
    front = await serve(engine)
    async with rpc.connect(front.port) as channel:
        await ready(channel)
        await generate(channel, metadata=[("traceparent", given)] if given else [])

    call = engine.calls[-1]
    assert call.traceparent == (given if given == _TRACEPARENT else "")


def test_nothing_of_the_sdk_is_loaded_until_it_is_needed() -> None:
    code = "import sys; from faceloom.core.tracing import start_tracing; start_tracing('x'); "
    done = run("-c", code + "print([name for name in sys.modules if '.sdk' in name])")

    assert done.stdout == "[]\n"


def test_another_protocol_is_refused_in_one_line() -> None:
    done = run(
        *("-m", "faceloom.cli.main", "serve", "generator"),
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )

    assert done.returncode == 2
    assert done.stderr == (
        "faceloom: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf: spans are sent by grpc only; unset it and"
        " give the collector's gRPC port, usually 4317\n"
    )


def test_a_collector_that_is_not_there_keeps_nobody_from_working(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    done = run(
        *("-m", "faceloom.cli.main", "generate", "--engine", "inprocess"),
        *("--seeds", "1", "--out", str(faces)),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert len(list(faces.iterdir())) == 1
