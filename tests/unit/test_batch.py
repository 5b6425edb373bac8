"""run_batch: many calls in, every one gets its own answer or its own error."""

import logging
import time

import pytest
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import POISON_SEED, EchoHandler, fake_service

from faceloom.common.v1 import engine_pb2, model_pb2
from faceloom.core.errors import ServiceError, from_status
from faceloom.generator.v1 import generator_pb2 as pb
from faceloom.runtime import batch as runtime_batch
from faceloom.runtime.batch import WARM_UP, run_batch


def call(*seeds: int, deadline: float | None = None, **fields: object) -> engine_pb2.EngineCall:
    """A call whose deadline is that many seconds from now."""
    request = pb.GenerateRequest(seeds=seeds, **fields)  # type: ignore[arg-type]
    made = engine_pb2.EngineCall(method="Generate", request=request.SerializeToString())
    if deadline is not None:
        made.deadline.FromNanoseconds(time.time_ns() + int(deadline * 1e9))
    return made


def run(handler: EchoHandler, *calls: engine_pb2.EngineCall) -> list[list[str] | ServiceError]:
    """What each call got: the texts of its faces, or its error."""
    result = run_batch(handler, engine_pb2.EngineBatch(calls=calls))
    assert len(result.results) == len(calls)
    return [_outcome(one) for one in result.results]


def _outcome(result: engine_pb2.EngineResult) -> list[str] | ServiceError:
    if result.WhichOneof("outcome") == "error":
        return from_status(status_pb2.Status.FromString(result.error))
    faces = pb.GenerateResponse.FromString(result.response).faces
    return [face.image.data.decode() for face in faces]


@pytest.fixture
def handler() -> EchoHandler:
    return EchoHandler(fake_service())


def test_calls_with_the_same_parameters_share_chunks(handler: EchoHandler) -> None:
    outcomes = run(handler, call(1, 2), call(3), call(4, 5))

    assert outcomes == [["1@0.0", "2@0.0"], ["3@0.0"], ["4@0.0", "5@0.0"]]
    assert handler.chunks == [(0.0, [1, 2, 3, 4]), (0.0, [5, 5, 5, 5])]


def test_calls_with_different_parameters_do_not_share_chunks(handler: EchoHandler) -> None:
    outcomes = run(
        handler, call(1, truncation_psi=0.5), call(2), call(3, truncation_psi=0.5), call(4)
    )

    assert outcomes == [["1@0.5"], ["2@0.0"], ["3@0.5"], ["4@0.0"]]
    assert handler.chunks == [(0.5, [1, 3, 3, 3]), (0.0, [2, 4, 4, 4])]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_the_network_always_gets_the_same_number_of_samples(
    handler: EchoHandler, count: int
) -> None:
    run(handler, call(*range(count)))

    assert [len(samples) for _, samples in handler.chunks] == [4] * -(-count // 4)


@pytest.mark.parametrize(
    ("bad", "code", "field"),
    [
        (call(), "INVALID_ARGUMENT", "seeds"),
        (call(*range(65)), "INVALID_ARGUMENT", "seeds"),
        (call(1, model_version="8"), "FAILED_PRECONDITION", "model_version"),
        (
            engine_pb2.EngineCall(method="Generate", request=b"\xff\xff\xff"),
            "INVALID_ARGUMENT",
            "(message)",
        ),
        (call(1, noise_mode=pb.NOISE_MODE_NONE), "INTERNAL", None),
        (call(1, noise_mode=pb.NOISE_MODE_RANDOM), "INTERNAL", None),
        (call(POISON_SEED), "INTERNAL", None),
        (call(POISON_SEED, 1, 2, 3, 4), "INTERNAL", None),
        (call(1, deadline=-1), "DEADLINE_EXCEEDED", None),
    ],
    ids=["empty", "long", "version", "garbage", "decode", "encode", "predict", "chunks", "late"],
)
def test_one_bad_call_does_not_touch_its_neighbours(
    handler: EchoHandler, bad: engine_pb2.EngineCall, code: str, field: str | None
) -> None:
    outcomes = run(handler, call(10), bad, call(11, 12))

    assert outcomes[0] == ["10@0.0"]
    assert outcomes[2] == ["11@0.0", "12@0.0"]
    error = outcomes[1]
    assert isinstance(error, ServiceError)
    assert (error.code.name, error.field) == (code, field)


def test_a_bug_is_reported_by_an_id_that_is_in_the_log_and_by_nothing_else(
    handler: EchoHandler, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        (error,) = run(handler, call(POISON_SEED))

    assert isinstance(error, ServiceError)
    assert error.reason == "BUG"
    (record,) = caplog.records
    assert record.error_id in error.message  # type: ignore[attr-defined]
    assert "bug in predict" not in error.message
    assert "bug in predict" in caplog.text


def test_a_gpu_without_memory_is_overload_and_not_a_bug(handler: EchoHandler) -> None:
    class OutOfMemoryError(RuntimeError):
        """Named as torch's."""

    def fail() -> None:
        raise OutOfMemoryError("CUDA")

    handler.before_chunk = fail

    (error,) = run(handler, call(1))

    assert isinstance(error, ServiceError)
    assert (error.code.name, error.reason, error.retry_after) == (
        "RESOURCE_EXHAUSTED",
        "GPU_OOM",
        1,
    )


def test_an_expired_call_is_neither_decoded_nor_computed(handler: EchoHandler) -> None:
    expired = call(1, deadline=-0.001, noise_mode=pb.NOISE_MODE_NONE)

    (error,) = run(handler, expired)

    assert isinstance(error, ServiceError)
    assert error.code.name == "DEADLINE_EXCEEDED"
    assert handler.chunks == []


def test_a_call_that_expires_on_the_way_is_computed_no_further(
    handler: EchoHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    clock = [now]
    monkeypatch.setattr(runtime_batch.time, "time", lambda: clock[0])

    def a_second_passes() -> None:
        clock[0] += 1

    handler.before_chunk = a_second_passes

    error, answer = run(handler, call(*range(12), deadline=1.5), call(99, deadline=60))

    assert isinstance(error, ServiceError)
    assert error.code.name == "DEADLINE_EXCEEDED"
    assert answer == ["99@0.0"]
    assert [samples for _, samples in handler.chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [99] * 4]


def test_a_call_that_is_given_up_on_the_way_is_computed_no_further(handler: EchoHandler) -> None:
    batch = engine_pb2.EngineBatch(calls=[call(*range(12)), call(99)])

    result = run_batch(handler, batch, lambda index: index != 0 or len(handler.chunks) < 2)

    error, answer = map(_outcome, result.results)
    assert isinstance(error, ServiceError)
    assert answer == ["99@0.0"]
    assert [samples for _, samples in handler.chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [99] * 4]


def test_a_call_without_a_deadline_never_expires(handler: EchoHandler) -> None:
    assert run(handler, call(1)) == [["1@0.0"]]


def test_an_answer_over_the_size_limit_is_refused_alone(
    handler: EchoHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_batch, "MAX_MESSAGE_BYTES", 100)

    small, large = run(handler, call(1), call(*range(60)))

    assert small == ["1@0.0"]
    assert isinstance(large, ServiceError)
    assert (large.code.name, large.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


def test_a_failing_chunk_is_not_computed_again_for_a_lone_call(handler: EchoHandler) -> None:
    run(handler, call(POISON_SEED, 1))

    assert len(handler.chunks) == 1


def test_a_failed_call_costs_no_further_chunks(handler: EchoHandler) -> None:
    run(handler, call(POISON_SEED, *range(30)))

    assert len(handler.chunks) == 1


def test_warming_up_computes_and_answers_with_the_model(handler: EchoHandler) -> None:
    batch = engine_pb2.EngineBatch(calls=[engine_pb2.EngineCall(method=WARM_UP)])

    (result,) = run_batch(handler, batch).results

    assert model_pb2.ModelInfo.FromString(result.response) == handler.model
    assert handler.chunks == [(0.0, [0, 0, 0, 0])]


def test_an_empty_batch_is_answered() -> None:
    result = run_batch(EchoHandler(fake_service()), engine_pb2.EngineBatch())

    assert list(result.results) == []


CALLS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 20) | st.just(POISON_SEED), max_size=9),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(calls=CALLS, chunk=st.integers(1, 5))
def test_every_call_gets_exactly_its_own_answer(
    calls: list[tuple[list[int], float]], chunk: int
) -> None:
    handler = EchoHandler(fake_service(compute_batch={"cpu": chunk, "cuda": 1}))

    outcomes = run(handler, *(call(*seeds, truncation_psi=psi) for seeds, psi in calls))

    for (seeds, psi), outcome in zip(calls, outcomes, strict=True):
        if not seeds:
            assert isinstance(outcome, ServiceError) and outcome.field == "seeds"
        elif POISON_SEED in seeds:
            assert isinstance(outcome, ServiceError) and outcome.reason == "BUG"
        else:
            assert outcome == [f"{seed}@{psi}" for seed in seeds]
    assert {len(samples) for _, samples in handler.chunks} <= {chunk}
