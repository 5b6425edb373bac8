"""A front's health, reflection and stopping."""

import asyncio
import json
import logging
import re
from typing import Any, cast

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests import rpc
from tests.contract.fronts import SERVICE, Serve, free_port, generate, ready, sample
from tests.fakes import FakeEngine, until

from faceloom.clients.client import Faceloom
from faceloom.core.errors import Internal, Overloaded, Unavailable
from faceloom.core.logs import JsonFormatter
from faceloom.core.request_id import carrying_request_id
from faceloom.generator.v1 import generator_pb2


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


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, '{"a": 1}'])
async def test_what_cannot_be_a_request_id_is_replaced(serve: Serve, given: str) -> None:
    engine = FakeEngine()
    front = await serve(engine)

    async with rpc.connect(front.port) as channel:
        await generate(channel, metadata=[("x-request-id", given)])

    [call] = engine.calls
    assert call.request_id != given
    assert re.fullmatch("[0-9a-f]{32}", call.request_id)


async def test_one_id_is_in_the_logs_of_all_that_a_request_passes(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    engine.outcomes = [RuntimeError("a bug in the engine")]
    front = await serve(engine)
    caplog.set_level("INFO")
    lines: list[dict[str, Any]] = []

    def keep(record: logging.LogRecord) -> bool:
        """Formatted where it is logged: the id is the task's."""
        lines.append(json.loads(JsonFormatter().format(record)))
        return True

    with caplog.filtering(keep), carrying_request_id() as request_id:  # type: ignore[arg-type]
        async with Faceloom.connect({"generator": f"127.0.0.1:{front.port}"}) as faceloom:
            with pytest.raises(Internal):
                await faceloom.generate(generator_pb2.GenerateRequest(seeds=[1]))

    assert [call.request_id for call in engine.calls] == [request_id]
    [broken] = [line for line in lines if line["message"] == "engine failed"]
    assert broken["request_ids"] == [request_id]
    [refused] = [line for line in lines if line["message"] == "rpc refused"]
    assert (refused["request_id"], refused["code"]) == (request_id, "INTERNAL")
    assert refused["rpc"] == "Generate"


async def test_a_full_queue_does_not_fill_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    engine.outcomes = [Overloaded("full"), Internal("broken")]
    front = await serve(engine)
    caplog.set_level("DEBUG")

    async with rpc.connect(front.port) as channel:
        codes = [(await rpc.refusal(generate(channel))).code for _ in range(2)]

    assert codes == ["RESOURCE_EXHAUSTED", "INTERNAL"]
    told = [record for record in caplog.records if record.message == "rpc refused"]
    assert [vars(record)["code"] for record in told] == ["INTERNAL"]
