"""Calls to a front as its clients see them, over real gRPC, with an engine that does what the test says."""

import asyncio

import pytest
from tests import rpc
from tests.contract.fronts import SERVICE, Serve, free_port, generate, ready, sample
from tests.fakes import FakeEngine, refused, until

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.service import MAX_MESSAGE_BYTES


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
