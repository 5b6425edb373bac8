"""Services that fail: what passes is waited for, what stays is pinned on the candidate that causes it."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices, poison
from tests.builds.test_same_bytes import files_of, rows_of

from faceloom.builds.options import BuildOptions
from faceloom.builds.retrying import Patience
from faceloom.builds.run import Result
from faceloom.builds.verification import verify
from faceloom.core.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from faceloom.datasets.spec import BuildSpec

Build = Callable[..., Awaitable[Result]]
SERVICES = ("generator", "quality", "sketch", "segmentation")
QUICK = Patience(silence=60.0, first_delay=0.0, longest_delay=0.0)


def accepts_all(fault: Callable[[str, set[int]], None] | None = None) -> FakeServices:
    return FakeServices(threshold=0.0, fault=fault)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_guilty_candidate_fails_alone(service: str, build: Build) -> None:
    spec = BuildSpec(candidates=100)
    error = InvalidArgument("images[0]: not a face", field="images[0]")
    result = await build(spec, services=accepts_all(poison(service, {17}, error)))
    summary = result.summary
    assert (summary.planned, summary.accepted, summary.failed) == (100, 99, 1)
    (row,) = rows_of(result.output / "failed.jsonl")
    assert (row["ordinal"], row["service"], row["reason"], row["detail"], row["attempts"]) == (
        17, service, "INVALID_ARGUMENT", "images[0]: not a face", 7,
    )  # fmt: skip
    assert not (result.output / "images" / "0000017.png").exists()
    assert not verify(result.output)


async def test_messages_that_change_every_time_do_not_reach_the_dataset(build: Build) -> None:
    error = Internal("internal error 4f1d; see the log", reason="BUG")
    result = await build(
        BuildSpec(candidates=10), services=accepts_all(poison("sketch", {1}, error))
    )
    (row,) = rows_of(result.output / "failed.jsonl")
    assert (row["reason"], row["detail"]) == ("BUG", "")


@pytest.mark.parametrize("blocks", [1, 4])
async def test_retry_failed_ends_where_an_undisturbed_build_does(
    blocks: int, tmp_path: Path, build: Build
) -> None:
    for spec in (BuildSpec(candidates=150), BuildSpec(accepted=70)):
        output = tmp_path / "out"
        good = await build(spec)
        expected = good.summary, files_of(output)
        output.rename(tmp_path / f"good-{spec.target}")
        seeds = {1, 5, 6, 100}
        bad = FakeServices(fault=poison("quality", seeds, Internal("bug")))
        broken = await build(spec, BuildOptions(blocks, 2, patience=QUICK), bad)
        assert broken.summary.failed == len(seeds)
        assert not verify(output)
        untouched = await build(spec, BuildOptions(blocks))
        assert untouched.summary == broken.summary
        again = await build(spec, BuildOptions(blocks, retry_failed=True))
        assert (again.summary, files_of(output)) == expected
        assert not verify(output)
        output.rename(tmp_path / f"bad-{spec.target}")


async def test_retrying_what_still_fails_counts_the_attempts(build: Build) -> None:
    bad = accepts_all(poison("sketch", set(range(10, 20)), Internal("bug")))
    first = await build(BuildSpec(candidates=64), services=bad)
    before = rows_of(first.output / "failed.jsonl")
    second = await build(BuildSpec(candidates=64), BuildOptions(retry_failed=True), bad)
    after = rows_of(second.output / "failed.jsonl")
    assert len(after) == len(before) == 10
    assert all(now["attempts"] > then["attempts"] for now, then in zip(after, before, strict=True))
    assert not verify(second.output)


@pytest.mark.parametrize(
    "error",
    [Unavailable("restarting"), Overloaded("full", retry_after=0.0), DeadlineExceeded("late")],
)
async def test_what_passes_is_waited_for(error: ServiceError, tmp_path: Path, build: Build) -> None:
    spec = BuildSpec(candidates=200)
    expected = (await build(spec)).summary
    (tmp_path / "out").rename(tmp_path / "undisturbed")
    luck = random.Random(3)

    def sometimes(service: str, seeds: set[int]) -> None:
        if luck.random() < 0.2:
            raise error

    result = await build(spec, BuildOptions(4, 3, patience=QUICK), FakeServices(fault=sometimes))
    assert result.summary == expected


async def test_a_service_that_stays_away_ends_the_run_and_loses_nothing(build: Build) -> None:
    spec = BuildSpec(candidates=256)

    def gone(service: str, seeds: set[int]) -> None:
        if service == "sketch" and max(seeds) >= 192:
            raise Unavailable("connection refused")

    impatient = Patience(silence=0.0, first_delay=0.001)
    with pytest.raises(Unavailable, match="connection refused"):
        await build(spec, BuildOptions(1, 4, patience=impatient), FakeServices(fault=gone))
    services = FakeServices()
    result = await build(spec, services=services)
    assert result.summary.planned == 256
    assert services.calls["generator"] == 2  # the probe and the one block that was missing


async def test_a_candidate_that_kills_its_worker_is_found(build: Build) -> None:
    deadly = FakeServices(2.0, fault=poison("quality", {70}, Unavailable("the worker died")))
    result = await build(BuildSpec(candidates=1280), BuildOptions(3, patience=QUICK), deadly)
    (row,) = rows_of(result.output / "failed.jsonl")
    assert (row["ordinal"], row["service"]) == (70, "quality")


async def test_a_service_that_fails_everybody_stops_the_build(build: Build) -> None:
    seen = []

    def broken(service: str, seeds: set[int]) -> None:
        seen.append(service)
        # The first is the probe, without which there would be no block.
        if service == "sketch" and seen.count("sketch") > 1:
            raise Internal("bug")

    with pytest.raises(FailedPrecondition, match="sketch service failed all") as caught:
        await build(BuildSpec(candidates=200), services=accepts_all(broken))
    assert caught.value.reason == "SERVICE_BROKEN"


async def test_a_model_that_changes_during_the_build_stops_it(build: Build) -> None:
    services = FakeServices()

    def upgrade(service: str, seeds: set[int]) -> None:
        if service == "sketch" and max(seeds) >= 64:
            services.version = "2"

    services.fault = upgrade
    with pytest.raises(FailedPrecondition, match="model changed during the build") as caught:
        await build(BuildSpec(candidates=200), BuildOptions(1), services)
    assert caught.value.reason == "MODEL_CHANGED"


async def test_a_message_that_is_too_large_is_split(build: Build) -> None:
    def narrow(service: str, seeds: set[int]) -> None:
        if len(seeds) > 5:
            raise TooLarge("over the limit")

    spec = BuildSpec(candidates=64)
    result = await build(spec, services=FakeServices(fault=narrow))
    assert result.summary.failed == 0


async def test_no_more_calls_are_in_flight_than_jobs(build: Build) -> None:
    services = FakeServices(threshold=0.9, shuffle=random.Random(1))
    await build(BuildSpec(candidates=640), BuildOptions(blocks=3), services)
    assert max(services.most_in_flight.values()) == 3


async def test_overload_makes_the_build_ask_less_at_once(build: Build) -> None:
    services = FakeServices(threshold=2.0, shuffle=random.Random(1))
    refusals = []

    def full(service: str, seeds: set[int]) -> None:
        if service == "generator" and services.in_flight[service] > 2:
            refusals.append(seeds)
            raise Overloaded("full", retry_after=0.0)

    services.fault = full
    result = await build(
        BuildSpec(candidates=1280), BuildOptions(blocks=8, patience=QUICK), services
    )
    assert result.summary.failed == 0
    assert len(refusals) < 20
