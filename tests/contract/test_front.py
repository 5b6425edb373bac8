"""A front as its clients see it, over real gRPC, with an engine that does what the test says."""

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests import rpc
from tests.fakes import FakeEngine, eventually, fake_service, refused, until

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.errors import (
    Internal,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.runtime.front import Front
from faceloom.runtime.service import MAX_MESSAGE_BYTES

SERVICE = "faceloom.generator.v1.GeneratorService"
Serve = Callable[..., Awaitable[Front]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a front before an engine; stops it at the end."""
    fronts: list[tuple[Front, FakeEngine]] = []

    async def start(engine: FakeEngine, metrics_port: int | None = None, **facts: Any) -> Front:
        front = Front(fake_service(**facts), engine, "127.0.0.1:0", metrics_port)
        await front.start()
        fronts.append((front, engine))
        return front

    yield start
    for front, engine in fronts:
        engine.open_gates()
        if not engine.closed:
            await front.stop(grace=0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def generate(channel: grpc.aio.Channel, request: bytes = b"r", **options: Any) -> Any:
    return rpc.call(channel, "generator", request, **options)


async def ready(channel: grpc.aio.Channel, wanted: int = rpc.SERVING) -> None:
    async def as_wanted() -> bool:
        return await rpc.health(channel, SERVICE) == wanted

    await eventually(as_wanted)


async def test_the_clients_bytes_reach_the_engine_and_the_engines_bytes_the_client(
    serve: Serve,
) -> None:
    engine = FakeEngine()
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        assert await generate(channel, b"\x00\xffanything") == b"echo:\x00\xffanything"

    assert engine.calls[0].method == "Generate"
    assert engine.calls[0].request == b"\x00\xffanything"


@pytest.mark.parametrize("extra", [1, MAX_MESSAGE_BYTES - 100])
async def test_a_message_over_the_limit_is_refused_with_the_limit(serve: Serve, extra: int) -> None:
    engine = FakeEngine()
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(generate(channel, bytes(MAX_MESSAGE_BYTES + extra)))
        assert await generate(channel, b"good") == b"echo:good"

    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
    assert error.field == "(message)"
    assert "16777216" in error.message
    assert engine.batches == [[b"good"]]


async def test_a_message_far_over_the_limit_is_refused_by_the_transport(serve: Serve) -> None:
    engine = FakeEngine()
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(generate(channel, bytes(2 * MAX_MESSAGE_BYTES + 1)))
        assert await generate(channel, b"good") == b"echo:good"

    assert error.code == "RESOURCE_EXHAUSTED"
    assert engine.batches == [[b"good"]]


async def test_a_message_of_exactly_the_limit_passes(serve: Serve) -> None:
    front = await serve(FakeEngine())

    async with rpc.connect(front.port) as channel:
        answer = await generate(channel, bytes(MAX_MESSAGE_BYTES))

    assert len(answer) == len(b"echo:") + MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "path", [f"/{SERVICE}/Nosuch", f"/{SERVICE}/WarmUp", "/no.such.Service/Generate"]
)
async def test_an_unknown_method_is_unimplemented(serve: Serve, path: str) -> None:
    front = await serve(FakeEngine())

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(rpc.raw(channel, path, b""))
        assert await generate(channel, b"good") == b"echo:good"

    assert error.code == "UNIMPLEMENTED"


async def test_a_call_that_takes_too_long_ends_at_its_deadline_and_is_not_executed_later(
    serve: Serve,
) -> None:
    engine = FakeEngine(gated=True)
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        first = generate(channel, b"first")
        await until(lambda: engine.batches)
        error = await rpc.refusal(generate(channel, b"late", timeout=0.1))
        engine.open_gates()
        assert await first == b"echo:first"
        assert await generate(channel, b"next") == b"echo:next"

    assert error.code == "DEADLINE_EXCEEDED"
    assert engine.batches == [[b"first"], [b"next"]]


async def test_a_call_without_a_deadline_gets_the_services_own(serve: Serve) -> None:
    engine = FakeEngine(gated=True)
    front = await serve(engine, max_seconds=0.1)

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(generate(channel, timeout=None))

    assert (error.code, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_a_deadline_beyond_the_services_own_is_capped(serve: Serve) -> None:
    engine = FakeEngine(gated=True)
    front = await serve(engine, max_seconds=0.1)

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(generate(channel, timeout=3600))

    assert error.code == "DEADLINE_EXCEEDED"


async def test_a_call_that_the_client_cancels_while_it_waits_is_not_executed(serve: Serve) -> None:
    engine = FakeEngine(gated=True)
    metrics = free_port()
    front = await serve(engine, metrics)

    async with rpc.connect(front.port) as channel:
        first = generate(channel, b"first")
        await until(lambda: engine.batches)
        gone = asyncio.ensure_future(generate(channel, b"gone"))
        await sample(metrics, "faceloom_queue_length", 1)
        gone.cancel()
        await sample(metrics, "faceloom_inflight_requests", 1)
        engine.open_gates()
        assert await first == b"echo:first"
        assert await generate(channel, b"next") == b"echo:next"

    assert engine.batches == [[b"first"], [b"next"]]


async def test_a_full_queue_answers_when_to_come_back_while_health_stays_up(serve: Serve) -> None:
    engine = FakeEngine(gated=True)
    metrics = free_port()
    front = await serve(engine, metrics, max_queue=2)

    async with rpc.connect(front.port) as channel:
        await ready(channel)
        calls = [generate(channel, b"first")]
        await until(lambda: engine.batches)
        calls += [generate(channel, b"second"), generate(channel, b"third")]
        await sample(metrics, "faceloom_queue_length", 2)
        error = await rpc.refusal(generate(channel, b"fourth"))
        assert await rpc.health(channel, "") == rpc.SERVING
        assert await rpc.health(channel, SERVICE) == rpc.SERVING
        engine.open_gates()
        assert await asyncio.gather(*calls) == [b"echo:first", b"echo:second", b"echo:third"]
        assert await generate(channel, b"fifth") == b"echo:fifth"

    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert error.retry_after is not None and error.retry_after > 0


async def test_the_error_of_a_call_reaches_its_client_with_all_details(serve: Serve) -> None:
    engine = FakeEngine()
    engine.outcomes = [engine_pb2.EngineBatchResult(results=[refused()])]
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(generate(channel))

    assert error == rpc.Refusal("INVALID_ARGUMENT", "bad", "INVALID_ARGUMENT", "seeds", None)


async def test_a_bug_of_the_engine_is_internal_and_tells_nothing_of_the_inside(
    serve: Serve,
) -> None:
    engine = FakeEngine()
    engine.outcomes = [RuntimeError("/secret/path")]
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        error = await rpc.refusal(generate(channel))
        assert await generate(channel, b"good") == b"echo:good"

    assert error.code == "INTERNAL"
    assert "secret" not in error.message


async def test_health_knows_the_process_and_the_service_and_nothing_else(serve: Serve) -> None:
    front = await serve(FakeEngine())

    async with rpc.connect(front.port) as channel:
        assert await rpc.health(channel, "") == rpc.SERVING
        await ready(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await rpc.health(channel, "faceloom.quality.v1.QualityService")

    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_front_is_not_ready_before_its_engine_has_computed(serve: Serve) -> None:
    engine = FakeEngine()
    engine.problem = Unavailable("not yet")
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        assert await rpc.health(channel, "") == rpc.SERVING
        assert await rpc.health(channel, SERVICE) == rpc.NOT_SERVING
        assert engine.warm_ups == 0
        engine.problem = None
        await ready(channel)

    assert engine.warm_ups == 1


@pytest.mark.parametrize("problem", [Unavailable("gone"), RuntimeError("a bug in the check")])
async def test_readiness_follows_the_engine_down_and_up_again(
    serve: Serve, problem: Exception
) -> None:
    engine = FakeEngine()
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        await ready(channel)
        engine.problem = problem
        await ready(channel, rpc.NOT_SERVING)
        assert await rpc.health(channel, "") == rpc.SERVING
        engine.problem = None
        await ready(channel)

    # What came back may be another worker, so it has to prove itself again.
    assert engine.warm_ups == 2


async def test_reflection_lists_the_service_and_describes_it(serve: Serve) -> None:
    front = await serve(FakeEngine())

    async with rpc.connect(front.port) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(cast(Any, channel))
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        listed, described = [
            answer async for answer in stub.ServerReflectionInfo(iter(requests), timeout=10)
        ]

    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert len(described.file_descriptor_response.file_descriptor_proto) >= 1


async def test_stopping_lets_calls_in_flight_and_in_the_queue_finish(serve: Serve) -> None:
    engine = FakeEngine(gated=True)
    metrics = free_port()
    front = await serve(engine, metrics)

    async with rpc.connect(front.port) as channel:
        await ready(channel)
        calls = [generate(channel, b"computing")]
        await until(lambda: engine.batches)
        calls.append(generate(channel, b"waiting"))
        await sample(metrics, "faceloom_queue_length", 1)
        stopping = asyncio.create_task(front.stop())
        async with rpc.connect(front.port) as late:
            refused_late = await rpc.refusal(generate(late, b"late"))
        engine.open_gates()
        answers = await asyncio.gather(*calls)
        await stopping

    assert answers == [b"echo:computing", b"echo:waiting"]
    assert refused_late.code == "UNAVAILABLE"
    assert engine.closed


async def test_stopping_does_not_wait_for_ever(serve: Serve) -> None:
    engine = FakeEngine(gated=True)
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        stuck = generate(channel, b"stuck")
        await until(lambda: engine.batches)
        async with asyncio.timeout(5):
            await front.stop(grace=0.1)
        error = await rpc.refusal(stuck)

    assert error.code in ("UNAVAILABLE", "CANCELLED")


async def test_a_request_id_travels_with_the_call(serve: Serve) -> None:
    engine = FakeEngine()
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        await generate(channel, metadata=[("x-request-id", "order-66")])
        await generate(channel)
        await generate(channel)

    given, first, second = [call.request_id for call in engine.calls]
    assert given == "order-66"
    assert first and second and first != second


async def scrape(port: int) -> str:
    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(read)


async def sample(port: int, name: str, wanted: float) -> None:
    """Waits until a metric without labels has that value."""

    async def as_wanted() -> bool:
        return f"\n{name} {wanted:.1f}\n" in await scrape(port)

    await eventually(as_wanted)


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


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Callable[..., Awaitable[ChannelCaller]]]:
    """A client of a front before an engine."""
    callers: list[ChannelCaller] = []

    async def start(engine: FakeEngine, **facts: Any) -> ChannelCaller:
        front = await serve(engine, **facts)
        callers.append(ChannelCaller({"generator": f"127.0.0.1:{front.port}"}))
        return callers[-1]

    yield start
    for caller in callers:
        await caller.close()


Client = Callable[..., Awaitable[ChannelCaller]]


@pytest.mark.parametrize("size", [1, 3 * 2**20])
async def test_the_client_tries_again_what_was_unavailable(client: Client, size: int) -> None:
    engine = FakeEngine()
    engine.outcomes = [Unavailable("the worker died", retry_after=5), None]
    caller = await client(engine)

    answer = await caller.call("generator", "Generate", bytes(size), 30)

    assert len(answer) == len(b"echo:") + size
    assert len(engine.batches) == 2


@pytest.mark.parametrize("error", [Overloaded("full", retry_after=3), Internal("bug")])
async def test_the_client_does_not_repeat_anything_else(
    client: Client, error: ServiceError
) -> None:
    engine = FakeEngine()
    engine.outcomes = [error]
    caller = await client(engine)

    with pytest.raises(type(error)) as caught:
        await caller.call("generator", "Generate", b"r", 30)

    assert caught.value.retry_after == error.retry_after
    assert len(engine.batches) == 1


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, 2 * MAX_MESSAGE_BYTES + 1])
async def test_the_client_says_when_a_message_is_too_large(client: Client, size: int) -> None:
    caller = await client(FakeEngine())

    with pytest.raises(TooLarge):
        await caller.call("generator", "Generate", bytes(size), 30)


async def test_the_client_says_when_an_answer_is_too_large(client: Client) -> None:
    caller = await client(FakeEngine())

    with pytest.raises(TooLarge):
        await caller.call("generator", "Generate", bytes(MAX_MESSAGE_BYTES), 30)


async def test_the_client_says_when_nobody_listens() -> None:
    caller = ChannelCaller({"generator": f"127.0.0.1:{free_port()}"})

    with pytest.raises(Unavailable):
        await caller.call("generator", "Generate", b"r", 30)

    await caller.close()


async def test_clients_do_not_share_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_PORT_OFFSET", "7")
    monkeypatch.setenv("FACELOOM_HOST", "faces.example")
    first, second = ChannelCaller({"generator": "elsewhere:1"}), ChannelCaller()

    assert first._targets.of("generator") == "elsewhere:1"
    assert second._targets.of("generator") == "faces.example:50058"
    assert second._targets.of("pipeline") == "faces.example:50057"
