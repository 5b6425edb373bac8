"""The queue when the engine fails: who is told what, and who may come again."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from tests.admissions import Admit, queued, submit
from tests.fakes import FakeEngine, refused, until

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import (
    Internal,
    InvalidArgument,
    Unavailable,
)
from faceloom.runtime import admission as runtime_admission


async def test_a_call_may_fail_alone(admit: Admit, registry: CollectorRegistry) -> None:
    engine = FakeEngine(gated=True)
    engine.outcomes = [
        None,
        engine_pb2.EngineBatchResult(
            results=[engine_pb2.EngineResult(response=b"fine"), refused()]
        ),
    ]
    admission = admit(engine)
    first = submit(admission, b"first")
    await until(lambda: engine.batches)
    good, bad = submit(admission, b"good"), submit(admission, b"bad")
    await queued(registry, 2)
    engine.open_gates()

    assert await good == b"fine"
    with pytest.raises(InvalidArgument) as error:
        await bad
    assert error.value.field == "seeds"
    await first


@pytest.mark.parametrize(
    "outcome",
    [
        RuntimeError("a bug in the engine"),
        engine_pb2.EngineBatchResult(),
        engine_pb2.EngineBatchResult(results=[engine_pb2.EngineResult(error=b"\xff\xff\xff")]),
        engine_pb2.EngineBatchResult(results=[engine_pb2.EngineResult()]),
    ],
    ids=["raises", "answers too few", "answers with garbage", "answers with nothing"],
)
async def test_an_engine_that_misbehaves_leaves_nobody_waiting_and_gets_the_next_call(
    admit: Admit, outcome: Exception | engine_pb2.EngineBatchResult
) -> None:
    engine = FakeEngine()
    engine.outcomes = [outcome]
    admission = admit(engine)

    with pytest.raises(Internal):
        await submit(admission, b"first", timeout=5)

    assert await submit(admission, b"second", timeout=5) == b"echo:second"


async def test_an_error_of_the_engine_reaches_all_calls_of_its_batch(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    engine.outcomes = [None, Unavailable("down", reason="ENGINE_DOWN", retry_after=2)]
    admission = admit(engine)
    first = submit(admission, b"first")
    await until(lambda: engine.batches)
    rest = [submit(admission, b"1"), submit(admission, b"2")]
    await queued(registry, 2)
    engine.open_gates()

    await first
    for answer in rest:
        with pytest.raises(Unavailable) as error:
            await answer
        assert (error.value.reason, error.value.retry_after) == ("ENGINE_DOWN", 2)
    assert registry.get_sample_value("faceloom_engine_errors_total", {"reason": "ENGINE_DOWN"}) == 1


def death() -> Unavailable:
    return Unavailable("died", reason=runtime_admission.WORKER_DIED)


async def test_a_call_that_kills_the_worker_twice_is_poison(admit: Admit) -> None:
    engine = FakeEngine()
    engine.outcomes = [death(), death()]
    admission = admit(engine)

    with pytest.raises(Unavailable):
        await submit(admission, b"poison")
    with pytest.raises(Internal) as error:
        await submit(admission, b"poison")

    assert error.value.reason == "POISON_INPUT"
    assert await submit(admission, b"other") == b"echo:other"


async def test_an_accident_is_forgiven_when_the_call_is_tried_again(admit: Admit) -> None:
    engine = FakeEngine()
    engine.outcomes = [death(), None, death()]
    admission = admit(engine)

    with pytest.raises(Unavailable):
        await submit(admission, b"a")
    assert await submit(admission, b"a") == b"echo:a"
    with pytest.raises(Unavailable):
        await submit(admission, b"a")


async def test_calls_that_died_together_are_tried_again_one_by_one(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    engine.outcomes = [None, death()]
    admission = admit(engine, max_batch=4)
    first = submit(admission, b"first")
    await until(lambda: engine.batches)
    together = [submit(admission, b"innocent"), submit(admission, b"poison")]
    await queued(registry, 2)
    engine.open_gates()
    await first
    for answer in together:
        with pytest.raises(Unavailable):
            await answer

    engine.outcomes = [None, death()]
    again = [submit(admission, b"innocent"), submit(admission, b"poison"), submit(admission, b"x")]
    outcomes = await asyncio.gather(*again, return_exceptions=True)

    assert engine.batches[2:] == [[b"innocent"], [b"poison"], [b"x"]]
    assert outcomes[0] == b"echo:innocent"
    assert isinstance(outcomes[1], Internal) and outcomes[1].reason == "POISON_INPUT"
    assert outcomes[2] == b"echo:x"


async def test_the_memory_of_deaths_is_bounded(
    admit: Admit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_admission, "_REMEMBERED_DEATHS", 2)
    engine = FakeEngine()
    engine.outcomes = [death() for _ in range(4)]
    admission = admit(engine)

    for name in (b"a", b"b", b"c", b"a"):
        with pytest.raises(Unavailable):
            await submit(admission, name)
