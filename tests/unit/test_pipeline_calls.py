"""How the pipeline waits for services, and what it needs to run."""

import subprocess
import sys

import pytest

from faceloom.builds.retrying import Patience, PatientService, Refused
from faceloom.builds.stopwatch import Stopwatch
from faceloom.core.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
)
from faceloom.runtime.retrying import Retrying, refusals


def patient(silence: float = 60.0) -> PatientService:
    patience = Patience(silence, first_delay=0.0, longest_delay=0.0)
    return PatientService("sketch", 4, patience, Stopwatch(("sketch",)))


class Answers:
    """Sends a request that ends in each of these in turn; the last one is for ever."""

    def __init__(self, *ends: ServiceError | str) -> None:
        self.sent = 0
        self._ends = ends

    async def __call__(self) -> str:
        end = self._ends[min(self.sent, len(self._ends) - 1)]
        self.sent += 1
        if isinstance(end, ServiceError):
            raise end
        return end


async def test_passing_errors_are_repeated_until_the_answer() -> None:
    send = Answers(Unavailable("a"), Overloaded("b"), DeadlineExceeded("c"), "answer")
    assert await patient().call(send) == "answer"
    assert send.sent == 4


async def test_a_call_of_a_build_says_how_often_it_was_refused() -> None:
    """Through the client, which tries once: full queues keep places for whoever says so."""
    answer, said = Answers(Overloaded("full"), Unavailable("gone"), "answer"), []

    async def send() -> str:
        said.append(refusals())
        return await answer()

    assert await patient().call(lambda: Retrying(wait=0).call("sketch", send)) == "answer"
    assert said == [0, 1, 1]


async def test_the_requests_own_fault_is_refused_at_once() -> None:
    send = Answers(InvalidArgument("broken", field="images[0]"))
    with pytest.raises(Refused) as caught:
        await patient().call(send)
    assert isinstance(caught.value.error, InvalidArgument) and send.sent == 1


async def test_other_errors_stop_the_build() -> None:
    with pytest.raises(NotFound):
        await patient().call(Answers(NotFound("no such method")))


async def test_silence_has_an_end() -> None:
    send = Answers(Unavailable("refused"))
    with pytest.raises(Unavailable):
        await patient(silence=0.01).call(send)
    assert send.sent > 1


async def test_a_request_of_many_that_is_late_is_divided() -> None:
    send = Answers(DeadlineExceeded("late"))
    with pytest.raises(Refused):
        await patient().call(send, divisible=True)
    assert send.sent == 1


async def test_a_single_request_is_not_blamed_for_a_dead_service() -> None:
    with pytest.raises(DeadlineExceeded):
        await patient(silence=0.01).call(Answers(DeadlineExceeded("late")))


def test_the_pipeline_runs_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None;"
        "import faceloom.builds.service.server, faceloom.builds.verification"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
