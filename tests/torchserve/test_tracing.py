"""Spans of the real stack, as a collector gets them: from the caller through front and engine to the disk."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.monitoring.collector import Collector, Span, collecting
from tests.studio.process import running_studio

pytestmark = pytest.mark.torchserve

_RPC = "faceloom.generator.v1.GeneratorService/Generate"
_SECONDS = 30
_BLOCKS = 3


@dataclass
class Traced:
    """A stack whose processes record, and who gets their spans."""

    collector: Collector
    stack: Any

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "faceloom.cli.main", *arguments],
            env=os.environ | {"FACELOOM_PORT_OFFSET": str(self.stack.port_offset)},
            capture_output=True,
            text=True,
            check=False,
        )

    def when(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """All spans, as soon as they are enough."""
        deadline = time.monotonic() + _SECONDS
        while not enough(spans := list(self.collector.spans)):
            assert time.monotonic() < deadline, sorted((one.service, one.name) for one in spans)
            time.sleep(0.1)
        return spans


@pytest.fixture(scope="module")
def traced(
    start_stack: Callable[[Path, str], AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Traced]:
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        for name, value in collector.environment.items():
            patch.setenv(name, value)
        with start_stack(tmp_path_factory.mktemp("traced"), "tiny") as stack:
            yield Traced(collector, stack)


@pytest.fixture
def spans(traced: Traced) -> Iterator[list[Span]]:
    """Those of one test alone."""
    traced.collector.spans.clear()
    yield traced.collector.spans


def tree(spans: list[Span], trace: str) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Which span is inside of which, by process and name; everything begins inside of ("", "")."""
    inside: dict[tuple[str, str], list[tuple[str, str]]] = {}
    of = {span.id: (span.service, span.name) for span in spans if span.trace == trace}
    for span in spans:
        if span.trace == trace:
            above = of[span.parent] if span.parent else ("", "")
            inside.setdefault(above, []).append((span.service, span.name))
    return {above: sorted(below) for above, below in inside.items()}


def test_a_call_is_one_trace_from_the_command_to_the_network(
    traced: Traced, spans: list[Span], tmp_path: Path
) -> None:
    done = traced.run("generate", "--seeds", "1,2", "--out", str(tmp_path / "faces"))
    assert done.returncode == 0, done.stderr
    traced.when(lambda now: len(now) >= 7)

    [trace] = {span.trace for span in spans}
    engine = "faceloom-generator-engine"
    assert tree(spans, trace) == {
        ("", ""): [("faceloom-cli", _RPC)],
        ("faceloom-cli", _RPC): [("faceloom-generator", _RPC)],
        ("faceloom-generator", _RPC): [
            ("faceloom-generator", "queue"),
            (engine, "generator handler"),
        ],
        (engine, "generator handler"): [
            (engine, "decode"),
            (engine, "encode"),
            (engine, "predict"),
        ],
    }
    by_id = {span.id: span.proto for span in spans}
    for span in spans:
        assert span.proto.start_time_unix_nano <= span.proto.end_time_unix_nano
        if span.parent:
            above = by_id[span.parent]
            assert above.start_time_unix_nano <= span.proto.start_time_unix_nano
            assert span.proto.end_time_unix_nano <= above.end_time_unix_nano


def test_a_drawing_is_one_trace_from_the_page_to_the_network(
    traced: Traced, spans: list[Span], tmp_path: Path
) -> None:
    labels = f"sqlite:///{tmp_path / 'labels.db'}"
    with running_studio(tmp_path, labels, traced.stack.port_offset) as (_, studio):
        path = f"{studio}/api/translate?task=sketch&size=64"
        with urllib.request.urlopen(path, bytes([255, 0]) * (64 * 32), timeout=30) as answer:
            assert answer.status == 200
        traced.when(lambda now: len(now) >= 8)

    rpc = "faceloom.translator.v1.TranslatorService/Translate"
    [page] = [span for span in spans if not span.parent]
    inside = tree(spans, page.trace)
    assert inside["", ""] == [("faceloom-studio", "POST /api/translate")]
    assert inside["faceloom-studio", "POST /api/translate"] == [("faceloom-studio", rpc)]
    assert inside["faceloom-studio", rpc] == [("faceloom-translator", rpc)]
    assert page.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/translate",
        "http.response.status_code": 200,
    }


def test_a_refusal_is_the_callers_error_and_the_log_knows_its_trace(
    traced: Traced, spans: list[Span], tmp_path: Path
) -> None:
    done = traced.run(
        *("generate", "--seeds", "1", "--model", "nosuch", "--out", str(tmp_path / "faces"))
    )
    assert done.returncode != 0
    traced.when(lambda now: len(now) >= 7)

    [client] = [span for span in spans if span.service == "faceloom-cli"]
    [server] = [span for span in spans if span.parent == client.id]
    for span in (client, server):
        assert span.attributes["rpc.response.status_code"] == "FAILED_PRECONDITION"
    failed = client.proto.status.STATUS_CODE_ERROR
    assert (client.proto.status.code, server.proto.status.code) == (failed, 0)
    lines = (traced.stack.logs / "generator.log").read_text().splitlines()
    assert client.trace in {json.loads(line).get("trace_id") for line in lines}


def test_a_block_of_a_build_is_one_trace_from_its_seeds_to_the_commit(
    traced: Traced, spans: list[Span], tmp_path: Path
) -> None:
    done = traced.run(
        *("build", "--candidates", str(64 * _BLOCKS), "--out", str(tmp_path / "dataset"))
    )
    assert done.returncode == 0, done.stderr

    def blocks(now: list[Span]) -> dict[int, str]:
        return {
            span.attributes["faceloom.block"]: span.trace for span in now if span.name == "block"
        }

    traced.when(lambda now: len(blocks(now)) == _BLOCKS)
    traced.when(lambda now: sum(span.name == "quality handler" for span in now) > _BLOCKS)

    pipeline = "faceloom-pipeline"
    for trace in blocks(spans).values():
        found = tree(spans, trace)
        assert found["", ""] == [(pipeline, "block")]
        parts = {name for service, name in found[pipeline, "block"]}
        assert parts == {"generator", "quality", "sketch", "segmentation", "encode", "commit"}
        assert (pipeline, _RPC) in found[pipeline, "generator"]
        assert ("faceloom-generator-engine", "predict") in found[
            "faceloom-generator-engine", "generator handler"
        ]


def test_spans_are_small(traced: Traced) -> None:
    """No pictures and no requests travel with them."""
    assert traced.collector.spans
    for span in traced.collector.spans:
        assert span.proto.ByteSize() < 500
        assert not span.proto.events
