"""What a front tells Prometheus."""

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from tests import rpc
from tests.contract.fronts import SERVICE, Serve, free_port, generate, ready, sample, scrape
from tests.fakes import FakeEngine, refused, until

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import Unavailable


async def test_metrics_have_the_names_that_dashboards_know(serve: Serve) -> None:
    engine = FakeEngine()
    engine.outcomes = [engine_pb2.EngineBatchResult(results=[refused()], seconds=1.5)]
    port = free_port()
    front = await serve(engine, port)

    async with rpc.connect(front.port) as channel:
        await ready(channel)
        await rpc.refusal(generate(channel))
        await generate(channel, b"12345678")
        await rpc.refusal(rpc.raw(channel, f"/{SERVICE}/Nosuch", b""))
        text = await scrape(port)

    labels = f'grpc_method="Generate",grpc_service="{SERVICE}",grpc_type="unary"'
    code = 'grpc_code="{}",' + labels
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values[f"grpc_server_started_total{{{labels}}}"] == "2.0"
    assert values[f"grpc_server_handled_total{{{code.format('OK')}}}"] == "1.0"
    assert values[f"grpc_server_handled_total{{{code.format('INVALID_ARGUMENT')}}}"] == "1.0"
    assert values[f"grpc_server_handling_seconds_count{{{labels}}}"] == "2.0"
    assert values["faceloom_inflight_requests"] == "0.0"
    assert values['faceloom_message_bytes_sum{direction="in"}'] == "9.0"
    assert values['faceloom_message_bytes_sum{direction="out"}'] == "13.0"
    assert values["faceloom_queue_length"] == "0.0"
    assert values["faceloom_queue_seconds_count"] == "2.0"
    assert values["faceloom_batch_calls_count"] == "2.0"
    assert values["faceloom_engine_busy_seconds_total"] == "1.5"
    assert values["faceloom_engine_up"] == "1.0"
    info = 'faceloom_model_info{device="",digest="",model="fake",version="1"}'
    assert values[info] == "1.0"
    assert values["faceloom_call_budget_seconds"] == "0.64"
    assert values["faceloom_queue_limit"] == "8.0"
    assert float(values["process_resident_memory_bytes"]) > 2**20
    # Probes are not the service's work, and strangers cannot make up label values.
    assert "grpc.health" not in text
    assert "Nosuch" not in text


async def test_what_has_not_happened_yet_is_zero(serve: Serve) -> None:
    """Prometheus sees that something happened for the first time only after a zero."""
    port = free_port()
    await serve(FakeEngine(), port)

    text = await scrape(port)

    labels = f'grpc_method="Generate",grpc_service="{SERVICE}",grpc_type="unary"'
    assert f"\ngrpc_server_started_total{{{labels}}} 0.0\n" in text
    for code in ("OK", "INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        assert f'\ngrpc_server_handled_total{{grpc_code="{code}",{labels}}} 0.0\n' in text
    assert '\nfaceloom_engine_errors_total{reason="WORKER_DIED"} 0.0\n' in text
    assert '\nfaceloom_admission_refused_total{reason="QUEUE_FULL"} 0.0\n' in text
    assert "\nfaceloom_worker_restarts_total 0.0\n" in text


async def test_a_worker_that_was_replaced_between_two_looks_is_counted_and_proves_itself(
    serve: Serve,
) -> None:
    engine, port = FakeEngine(), free_port()
    await serve(engine, port)
    await sample(port, "faceloom_engine_up", 1)
    assert engine.warm_ups == 1

    engine.pids = frozenset({2})

    await sample(port, "faceloom_worker_restarts_total", 1)
    await until(lambda: engine.warm_ups == 2)
    assert "\nfaceloom_engine_up 1.0\n" in await scrape(port)


async def test_a_worker_that_was_away_for_a_while_is_counted_once(serve: Serve) -> None:
    engine, port = FakeEngine(), free_port()
    await serve(engine, port)
    await sample(port, "faceloom_engine_up", 1)

    engine.problem = Unavailable("gone")
    await sample(port, "faceloom_engine_up", 0)
    engine.pids, engine.problem = frozenset({2}), None

    await sample(port, "faceloom_engine_up", 1)
    await sample(port, "faceloom_worker_restarts_total", 1)


async def test_bounds_of_durations_follow_from_the_budget(serve: Serve) -> None:
    port = free_port()
    await serve(FakeEngine(), port, latency_budget_ms=80, max_seconds=1.5)

    text = await scrape(port)

    for name in ("faceloom_queue_seconds", "grpc_server_handling_seconds"):
        bounds = re.findall(rf'^{name}_bucket{{.*le="(.*)"}}', text, re.M)
        assert bounds == [
            "0.01",
            "0.02",
            "0.04",
            "0.08",
            "0.16",
            "0.32",
            "0.64",
            "1.28",
            "2.56",
            "+Inf",
        ]


async def test_the_engines_own_metrics_are_shown_too(serve: Serve) -> None:
    class Own(Collector):
        def collect(self) -> Iterator[Metric]:
            yield GaugeMetricFamily("CPUUtilization", "Percent", value=7)

    port = free_port()
    await serve(FakeEngine(), port, Own())

    await sample(port, "CPUUtilization", 7)


@pytest.mark.parametrize(("timeout", "max_seconds"), [(0.5, 30), (None, 0.1)])
async def test_a_missed_deadline_is_counted_as_one(
    serve: Serve, timeout: float | None, max_seconds: float
) -> None:
    port = free_port()
    front = await serve(FakeEngine(gated=True), port, max_seconds=max_seconds)

    async with rpc.connect(front.port) as channel:
        # The deadline is to pass in the front, not while connecting.
        await channel.channel_ready()
        await rpc.refusal(generate(channel, timeout=timeout))
        await sample(port, "faceloom_inflight_requests", 0)
        text = await scrape(port)

    assert 'grpc_server_handled_total{grpc_code="DEADLINE_EXCEEDED",' in text


async def test_metrics_are_served_where_the_front_listens_and_end_with_it(serve: Serve) -> None:
    port = free_port()
    front = await serve(FakeEngine(), port)
    await scrape(port)
    # 127.0.0.2 is this machine, too, but not where the front was told to listen.
    with socket.socket() as elsewhere:
        assert elsewhere.connect_ex(("127.0.0.2", port)) != 0

    await front.stop(grace=0)

    with pytest.raises(urllib.error.URLError):
        await scrape(port)
