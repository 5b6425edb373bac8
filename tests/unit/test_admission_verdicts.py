"""What a queue tells who is refused, to the second, and whom it holds guilty of a worker's death."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from tests.admissions import Admit, queued, submit
from tests.fakes import FakeEngine, until

from faceloom.core.errors import Overloaded, Unavailable
from faceloom.runtime import admission as runtime_admission
from faceloom.runtime.admission import WORKER_DIED


@pytest.mark.parametrize(
    ("facts", "slots", "waiting", "seconds"),
    [
        # Beyond the 4 places there is one for who comes back: it is free after one batch of 2 s.
        ({"max_queue": 4, "max_batch": 1}, 1, 4, 2.0),
        # It is taken: 5 calls wait, one at a time.
        ({"max_queue": 4, "max_batch": 1}, 1, 5, 10.0),
        # Two at a time, and on two slots.
        ({"max_queue": 4, "max_batch": 2}, 1, 5, 5.0),
        ({"max_queue": 4, "max_batch": 2}, 2, 5, 2.5),
        # Half a batch waits in front of the free place.
        ({"max_queue": 4, "max_batch": 8}, 1, 4, 1.0),
        # Never sooner than this.
        ({"max_queue": 4, "max_batch": 8, "latency_budget_ms": 1}, 1, 5, 0.05),
    ],
)
async def test_who_is_refused_is_told_how_long_the_queue_takes(
    facts: dict[str, int],
    slots: int,
    waiting: int,
    seconds: float,
    admit: Admit,
    registry: CollectorRegistry,
) -> None:
    engine = FakeEngine(slots=slots, gated=True)
    admission = admit(engine, **{"latency_budget_ms": 2000} | facts)
    answers = []
    for number in range(slots):
        answers.append(submit(admission, b"busy"))
        await until(lambda number=number: len(engine.batches) == number + 1)
    answers += [submit(admission, b"%d" % number, refusals=1) for number in range(waiting)]
    await queued(registry, waiting)

    with pytest.raises(Overloaded) as refusal:
        await submit(admission, b"one too many")

    assert refusal.value.retry_after == pytest.approx(seconds)
    engine.open_gates()
    await asyncio.gather(*answers)


async def test_a_slow_batch_makes_the_estimate_longer_by_a_fifth_of_what_it_took_more(
    admit: Admit, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns)
    monkeypatch.setattr(runtime_admission, "time", clock)
    engine = FakeEngine(gated=True)
    admission = admit(engine, latency_budget_ms=2000, max_queue=1, max_batch=1)
    slow = submit(admission, b"slow")
    await until(lambda: engine.batches)
    now += 12
    engine.open_gates()
    await slow
    engine._gate.clear()
    answers = [submit(admission, b"busy")]
    await until(lambda: len(engine.batches) == 2)
    answers.append(submit(admission, b"waits"))
    await queued(registry, 1)

    with pytest.raises(Overloaded) as refusal:
        await submit(admission, b"one too many")

    # 2 s were expected and 12 s were taken.
    assert refusal.value.retry_after == pytest.approx(2 + (12 - 2) / 5)
    engine.open_gates()
    await asyncio.gather(*answers)


async def test_who_dies_twice_in_company_may_be_innocent(
    admit: Admit, registry: CollectorRegistry
) -> None:
    """Both were queued before anything had died, so nobody knew that they should be sent alone."""
    engine = FakeEngine(gated=True)
    engine.outcomes = [Unavailable("died", reason=WORKER_DIED) for _ in range(2)]
    admission = admit(engine, max_batch=4)
    first = submit(admission, b"innocent")
    await until(lambda: engine.batches)
    together = [submit(admission, b"innocent"), submit(admission, b"poison")]
    await queued(registry, 2)
    engine.open_gates()

    for answer in (first, *together):
        with pytest.raises(Unavailable) as error:
            await answer
        assert error.value.reason == WORKER_DIED
    assert engine.batches == [[b"innocent"], [b"innocent", b"poison"]]
    assert await submit(admission, b"innocent") == b"echo:innocent"
