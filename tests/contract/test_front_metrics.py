"""What a front tells Prometheus."""

import socket
import urllib.error
import urllib.request

import pytest
from tests import rpc
from tests.contract.fronts import SERVICE, Serve, free_port, generate, ready, sample, scrape
from tests.fakes import FakeEngine, refused

from faceloom.common.v1 import engine_pb2


async def test_metrics_have_the_names_that_dashboards_know(serve: Serve) -> None:
    engine = FakeEngine()
    engine.outcomes = [engine_pb2.EngineBatchResult(results=[refused()])]
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
    assert values["faceloom_engine_up"] == "1.0"
    info = 'faceloom_model_info{device="",digest="",model="fake",version="1"}'
    assert values[info] == "1.0"
    assert "# TYPE faceloom_admission_refused_total counter" in text
    assert "# TYPE faceloom_engine_errors_total counter" in text
    # Probes are not the service's work, and strangers cannot make up label values.
    assert "grpc.health" not in text
    assert "Nosuch" not in text


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
