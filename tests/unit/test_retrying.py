"""When a call is tried again, and when no more."""

import pytest

from faceloom.core.errors import Overloaded, ServiceError, Unavailable
from faceloom.core.request_id import current_request_id
from faceloom.runtime import retrying
from faceloom.runtime.retrying import Retrying, delay, refusals, refusals_of


@pytest.mark.parametrize(
    ("tries", "asked_for", "least"),
    [
        (1, None, 0.1),
        (2, None, 0.2),
        (3, None, 0.4),
        (7, None, 5.0),
        (5000, None, 5.0),
        (1, 3.0, 3.0),
        (7, 30.0, 30.0),
    ],
)
def test_delays_double_up_to_a_limit_and_honour_the_service(
    tries: int, asked_for: float | None, least: float
) -> None:
    delays = {delay(tries, asked_for) for _ in range(100)}

    assert all(least <= one <= 1.5 * least for one in delays)
    # Clients that were refused together do not come back together.
    assert len(delays) > 50


async def test_a_call_says_how_often_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "delay", lambda tries, asked_for: 0)
    errors: list[ServiceError] = [Overloaded("full"), Unavailable("gone"), Overloaded("full")]
    said: list[tuple[str, int]] = []

    async def send() -> str:
        said.append((current_request_id(), refusals()))
        if errors:
            raise errors.pop(0)
        return "answer"

    assert await Retrying(wait=60).call("quality", send) == "answer"

    assert [times for _, times in said] == [0, 1, 1, 2]
    assert len({request_id for request_id, _ in said}) == 1
    assert refusals() == 0


@pytest.mark.parametrize(
    ("metadata", "count"),
    [
        ([], 0),
        ([("x-refusals", "2")], 2),
        ([("x-refusals", "-1")], 0),
        ([("x-refusals", "1e9")], 0),
        ([("x-refusals", "9" * 5000)], 0),
        ([("x-refusals", b"2")], 0),
    ],
)
def test_what_callers_say_is_read_with_care(
    metadata: list[tuple[str, str | bytes]], count: int
) -> None:
    assert refusals_of(metadata) == count


async def test_the_last_error_says_how_long_it_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "delay", lambda tries, asked_for: 0.05)
    told: list[str] = []

    async def send() -> str:
        raise Overloaded("64 calls are waiting", retry_after=0.05)

    notice = Retrying(0.2, lambda service, error: told.append(f"{service}: {error.message}"))
    with pytest.raises(Overloaded, match=r"64 calls are waiting \(tried \d+ times in 0 s\)") as end:
        await notice.call("quality", send)

    assert (end.value.reason, end.value.retry_after) == ("QUEUE_FULL", 0.05)
    assert set(told) == {"quality: 64 calls are waiting"}
