"""The queue: who goes when, with whom, and who is told no."""

import asyncio
import threading
import time

import pytest
from prometheus_client import CollectorRegistry
from tests.admissions import Admit, queued, submit
from tests.fakes import EchoHandler, FakeEngine, fake_service, until

from faceloom.core.errors import (
    DeadlineExceeded,
    Overloaded,
    Unavailable,
)
from faceloom.generator.v1 import generator_pb2 as pb
from faceloom.runtime import admission as runtime_admission
from faceloom.runtime.admission import Admission
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.metrics import FrontMetrics


async def test_a_lone_call_goes_to_an_idle_engine_at_once(admit: Admit) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_batch=4)

    answer = submit(admission, b"a")

    # No clock is involved: a few turns of the loop are all it takes.
    for _ in range(10):
        await asyncio.sleep(0)
    assert engine.batches == [[b"a"]]
    engine.open_gates()
    assert await answer == b"echo:a"


async def test_calls_that_wait_for_a_busy_engine_share_the_next_batches(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_batch=3)
    first = submit(admission, b"0")
    await until(lambda: engine.batches)

    rest = [submit(admission, b"%d" % number) for number in range(1, 6)]
    await queued(registry, 5)
    engine.open_gates()

    assert await asyncio.gather(first, *rest) == [b"echo:%d" % number for number in range(6)]
    assert engine.batches == [[b"0"], [b"1", b"2", b"3"], [b"4", b"5"]]
    assert registry.get_sample_value("faceloom_batch_calls_sum") == 6
    assert registry.get_sample_value("faceloom_batch_calls_count") == 3


async def test_every_slot_of_the_engine_is_used(admit: Admit) -> None:
    engine = FakeEngine(slots=2, gated=True)
    admission = admit(engine, max_batch=1)

    answers = [submit(admission, name) for name in (b"a", b"b", b"c")]
    await until(lambda: len(engine.batches) == 2)

    assert engine.batches == [[b"a"], [b"b"]]
    engine.open_gates()
    await asyncio.gather(*answers)


async def test_the_batch_that_will_lie_ready_has_time_to_grow(admit: Admit) -> None:
    engine = FakeEngine(slots=2, workers=1, gated=True)
    admission = admit(engine, latency_budget_ms=600_000, max_batch=3)
    answers = [submit(admission, b"a")]
    await until(lambda: engine.batches)

    for name in (b"b", b"c", b"d"):
        assert engine.batches == [[b"a"]]
        answers.append(submit(admission, name))
        for _ in range(10):
            await asyncio.sleep(0)

    # Full, it has no more reason to wait.
    assert engine.batches == [[b"a"], [b"b", b"c", b"d"]]
    engine.open_gates()
    await asyncio.gather(*answers)


async def test_a_growing_batch_goes_when_a_worker_is_free(admit: Admit) -> None:
    engine = FakeEngine(slots=2, workers=1, gated=True)
    admission = admit(engine, latency_budget_ms=600_000)
    answers = [submit(admission, b"a")]
    await until(lambda: engine.batches)
    answers.append(submit(admission, b"b"))

    engine.open_gates()

    async with asyncio.timeout(10):
        assert await asyncio.gather(*answers) == [b"echo:a", b"echo:b"]


async def test_a_growing_batch_goes_after_a_while(admit: Admit) -> None:
    engine = FakeEngine(slots=2, workers=1, gated=True)
    admission = admit(engine, latency_budget_ms=10)
    answers = [submit(admission, b"a")]
    await until(lambda: engine.batches)
    answers.append(submit(admission, b"b"))

    await until(lambda: engine.batches == [[b"a"], [b"b"]])

    engine.open_gates()
    await asyncio.gather(*answers)


async def test_a_batch_never_exceeds_the_message_limit(
    admit: Admit, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_admission, "MAX_MESSAGE_BYTES", 10)
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_batch=4)
    answers = [submit(admission, b"first")]
    await until(lambda: engine.batches)

    answers += [submit(admission, name) for name in (b"123456", b"1234", b"12345678")]
    await queued(registry, 3)
    engine.open_gates()
    await asyncio.gather(*answers)

    assert engine.batches[1:] == [[b"123456", b"1234"], [b"12345678"]]


async def test_a_full_queue_refuses_and_says_when_to_come_back(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_queue=2)
    answers = [submit(admission, b"busy")]
    await until(lambda: engine.batches)
    answers += [submit(admission, b"1"), submit(admission, b"2")]
    await queued(registry, 2)

    with pytest.raises(Overloaded) as refusal:
        await submit(admission, b"3")

    assert refusal.value.reason == "QUEUE_FULL"
    assert refusal.value.retry_after is not None
    assert 0 < refusal.value.retry_after < 10
    assert (
        registry.get_sample_value("faceloom_admission_refused_total", {"reason": "QUEUE_FULL"}) == 1
    )
    engine.open_gates()
    assert await asyncio.gather(*answers) == [b"echo:busy", b"echo:1", b"echo:2"]


async def test_a_call_that_was_refused_finds_a_place_that_newcomers_do_not_get(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_queue=4, max_batch=1, latency_budget_ms=100)
    answers = [submit(admission, b"busy")]
    await until(lambda: engine.batches)
    answers += [submit(admission, b"%d" % number) for number in range(4)]
    await queued(registry, 4)

    with pytest.raises(Overloaded) as first:
        await submit(admission, b"newcomer")
    answers.append(submit(admission, b"patient", refusals=1))
    await queued(registry, 5)
    for refusals in (0, 1):
        with pytest.raises(Overloaded) as later:
            await submit(admission, b"one too many", refusals=refusals)
        # While there is a place for who comes back, it need not wait for the whole queue.
        assert 2 * (first.value.retry_after or 0) < (later.value.retry_after or 0)
    engine.open_gates()

    await asyncio.gather(*answers)


async def test_calls_that_were_refused_take_turns_with_newcomers(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_queue=8, max_batch=1)
    answers = [submit(admission, b"busy")]
    await until(lambda: engine.batches)
    answers += [submit(admission, b"%d" % number) for number in range(3)]
    await queued(registry, 3)
    answers += [submit(admission, name, refusals=1) for name in (b"a", b"b", b"c")]
    await queued(registry, 6)
    answers.append(submit(admission, b"3"))
    await queued(registry, 7)

    engine.open_gates()
    await asyncio.gather(*answers)

    order = b"".join(batch[0] for batch in engine.batches[1:])
    assert order == b"a0b1c23"


async def test_a_burst_in_one_turn_of_the_loop_cannot_overfill_the_queue(admit: Admit) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_queue=8, max_batch=1)
    burst = [submit(admission, b"%d" % number) for number in range(50)]

    await until(lambda: sum(task.done() for task in burst) >= 41)
    engine.open_gates()
    outcomes = await asyncio.gather(*burst, return_exceptions=True)

    answered = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
    assert 8 <= len(answered) <= 9
    assert all(isinstance(outcome, bytes | Overloaded) for outcome in outcomes)


async def test_a_call_whose_client_has_gone_is_never_executed(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine)
    first = submit(admission, b"first")
    await until(lambda: engine.batches)
    gone, stays = submit(admission, b"gone"), submit(admission, b"stays")
    await queued(registry, 2)

    gone.cancel()
    await asyncio.wait([gone])
    engine.open_gates()
    await asyncio.gather(first, stays)

    assert engine.batches == [[b"first"], [b"stays"]]


async def test_a_call_whose_deadline_has_passed_is_never_executed(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine)
    first = submit(admission, b"first")
    await until(lambda: engine.batches)

    with pytest.raises(DeadlineExceeded):
        await submit(admission, b"late", timeout=0.01)
    engine.open_gates()
    await first

    assert engine.batches == [[b"first"]]


@pytest.mark.parametrize("timeout", [0.0, -5.0])
async def test_a_call_that_comes_too_late_is_told_so(admit: Admit, timeout: float) -> None:
    admission = admit(FakeEngine(gated=True))

    with pytest.raises(DeadlineExceeded):
        await submit(admission, b"a", timeout=timeout)


async def test_a_call_that_is_cancelled_while_it_is_computed_stops_after_a_chunk(
    admit: Admit,
) -> None:
    begun, going_on = threading.Event(), threading.Event()
    handler = EchoHandler(fake_service())

    def hold() -> None:
        begun.set()
        going_on.wait(30)

    handler.before_chunk = hold
    admission = admit(InProcessEngine(handler))
    request = pb.GenerateRequest(seeds=range(64)).SerializeToString()
    given_up = submit(admission, request)
    await asyncio.to_thread(begun.wait, 30)

    given_up.cancel()
    await asyncio.wait([given_up])
    going_on.set()
    # The engine has one thread: what it answers next shows that it is done with the other.
    await submit(admission, pb.GenerateRequest(seeds=[99]).SerializeToString())

    assert [samples for _, samples in handler.chunks] == [[0, 1, 2, 3], [99] * 4]


async def test_a_call_may_have_no_deadline(admit: Admit) -> None:
    engine = FakeEngine()

    assert await submit(admit(engine), b"patient", timeout=None) == b"echo:patient"

    assert not engine.calls[0].HasField("deadline")


async def test_abandoned_calls_make_room_in_a_full_queue(
    admit: Admit, registry: CollectorRegistry
) -> None:
    engine = FakeEngine(gated=True)
    admission = admit(engine, max_queue=1)
    first = submit(admission, b"first")
    await until(lambda: engine.batches)
    gone = submit(admission, b"gone")
    await queued(registry, 1)
    gone.cancel()
    await asyncio.wait([gone])

    second = submit(admission, b"second")
    engine.open_gates()

    assert await asyncio.gather(first, second) == [b"echo:first", b"echo:second"]


async def test_the_engine_is_told_the_deadline(admit: Admit) -> None:
    engine = FakeEngine()
    admission = admit(engine)
    before = time.time()

    await submit(admission, b"a", timeout=7)

    deadline = engine.calls[0].deadline.ToNanoseconds() / 1e9
    assert before + 7 <= deadline <= time.time() + 7


async def test_closing_answers_those_who_wait_and_those_being_computed(
    registry: CollectorRegistry,
) -> None:
    engine = FakeEngine(gated=True)
    admission = Admission(fake_service(), engine, FrontMetrics(registry, fake_service()))
    computing = submit(admission, b"computing")
    await until(lambda: engine.batches)
    waiting = submit(admission, b"waiting")
    await queued(registry, 1)

    await admission.close()

    for answer in (computing, waiting, submit(admission, b"too late")):
        with pytest.raises(Unavailable) as error:
            await asyncio.wait_for(answer, 2)
        assert error.value.reason == "STOPPING"
    assert engine.closed
