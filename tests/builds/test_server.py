"""The coordinator's API over a real gRPC server."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from tests.builds.api import Gate, ended, order, refusal, serving
from tests.builds.fake_services import FakeServices, poison

from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import (
    FailedPrecondition,
    Internal,
)
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb


async def test_a_build_from_order_to_dataset(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as stub:
        made = (await stub.CreateBuild(order(tmp_path / "out"))).build
        assert made.state == pb.BUILD_STATE_PENDING
        seen = [answer.build async for answer in stub.WatchBuild(pb.WatchBuildRequest(id=made.id))]
        last = (await stub.GetBuild(pb.GetBuildRequest(id=made.id))).build
    assert seen[-1] == last
    assert last.state == pb.BUILD_STATE_SUCCEEDED
    progress = last.progress
    assert progress.planned == progress.accepted + progress.rejected + progress.failed == 130
    assert progress.shards == progress.shards_committed == 1
    assert progress.images_per_second > 0
    assert set(progress.stage_seconds) > {"generator", "encode", "commit"}
    assert last.end_time.ToNanoseconds() > last.create_time.ToNanoseconds() > 0
    states = [build.state for build in seen]
    assert states == sorted(states)
    judged = [build.progress.processed for build in seen]
    assert judged == sorted(judged)
    assert not verify(tmp_path / "out")
    local = await run_build(BuildSpec(candidates=130), tmp_path / "local", FakeServices().client())
    assert local.summary.dataset_digest == last.dataset_digest


async def test_one_request_is_one_build(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as stub:
        both = await asyncio.gather(
            stub.CreateBuild(order(tmp_path / "out")), stub.CreateBuild(order(tmp_path / "out"))
        )
        assert both[0].build.id == both[1].build.id
        done = await ended(stub, both[0].build.id)
        again = (await stub.CreateBuild(order(tmp_path / "out"))).build
        assert again == done
        other = await refusal(stub.CreateBuild(order(tmp_path / "out", spec={"candidates": 5})))
        assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CONFLICT")
        listed = (await stub.ListBuilds(pb.ListBuildsRequest())).builds
        assert [build.id for build in listed] == [done.id]


async def test_the_same_work_asked_for_twice_is_done_once(tmp_path: Path) -> None:
    gate = Gate(1)
    async with serving(tmp_path / "state", FakeServices(gate=gate)) as stub:
        one = (await stub.CreateBuild(order(tmp_path / "out", "one"))).build
        await gate.reached.wait()
        two = (await stub.CreateBuild(order(tmp_path / "out", "two"))).build
        assert two.id == one.id
        other = order(tmp_path / "out", "three", spec={"candidates": 5})
        assert (await refusal(stub.CreateBuild(other))).reason == "OUTPUT_IN_USE"
        gate.open.set()
        done = await ended(stub, one.id)
        assert done.state == pb.BUILD_STATE_SUCCEEDED
        assert (await refusal(stub.CreateBuild(other))).reason == "OTHER_RECIPE"
        late = (await stub.CreateBuild(order(tmp_path / "out", "two"))).build
        assert (await ended(stub, late.id)).dataset_digest == done.dataset_digest


async def test_cancel_and_take_up_again(tmp_path: Path) -> None:
    gate = Gate(5)
    async with serving(tmp_path / "state", FakeServices(gate=gate)) as stub:
        request = order(tmp_path / "out", spec={"accepted": 200}, jobs=1, shards=4)
        made = (await stub.CreateBuild(request)).build
        watching = asyncio.create_task(ended(stub, made.id))
        await gate.reached.wait()
        cancelled = (await stub.CancelBuild(pb.CancelBuildRequest(id=made.id))).build
        assert cancelled.state == pb.BUILD_STATE_CANCELLED
        assert (await watching).state == pb.BUILD_STATE_CANCELLED
        assert 0 < cancelled.progress.shards_committed < 4
        same = (await stub.CancelBuild(pb.CancelBuildRequest(id=made.id))).build
        assert same == cancelled
        gate.open.set()
        taken_up = (await stub.CreateBuild(request)).build
        assert (taken_up.id, taken_up.state) == (made.id, pb.BUILD_STATE_PENDING)
        done = await ended(stub, made.id)
        assert (done.state, done.progress.accepted) == (pb.BUILD_STATE_SUCCEEDED, 200)


async def test_a_build_that_waits_its_turn_can_be_cancelled(tmp_path: Path) -> None:
    gate = Gate(0)
    async with serving(tmp_path / "state", FakeServices(gate=gate)) as stub:
        for name in "abc":
            await stub.CreateBuild(order(tmp_path / name, name))
        listed = (await stub.ListBuilds(pb.ListBuildsRequest())).builds
        waiting = next(build for build in listed if build.output.endswith("/c"))
        ending = (await stub.CancelBuild(pb.CancelBuildRequest(id=waiting.id))).build
        assert ending.state == pb.BUILD_STATE_CANCELLED
        assert not any((tmp_path / "c").iterdir())


async def test_everybody_who_watches_sees_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as stub:
        made = (await stub.CreateBuild(order(tmp_path / "out"))).build
        ends = await asyncio.gather(*(ended(stub, made.id) for _ in range(10)))
        assert {end.state for end in ends} == {pb.BUILD_STATE_SUCCEEDED}
        assert (await ended(stub, made.id)).state == pb.BUILD_STATE_SUCCEEDED


async def test_a_build_that_fails_says_why_and_can_be_taken_up(tmp_path: Path) -> None:
    def fault(service: str, seeds: set[int]) -> None:
        if max(seeds) > 64:
            raise FailedPrecondition("the model was unloaded")

    services = FakeServices(fault=fault)
    async with serving(tmp_path / "state", services) as stub:
        made = (await stub.CreateBuild(order(tmp_path / "out"))).build
        failed = await ended(stub, made.id)
        assert failed.state == pb.BUILD_STATE_FAILED
        assert failed.error == "the model was unloaded"
        services.fault = None
        await stub.CreateBuild(order(tmp_path / "out"))
        done = await ended(stub, made.id)
        assert (done.state, done.error) == (pb.BUILD_STATE_SUCCEEDED, "")


async def test_failed_candidates_are_made_again_on_request(tmp_path: Path) -> None:
    services = FakeServices(fault=poison("quality", set(range(5, 130, 7)), Internal("bug")))
    async with serving(tmp_path / "state", services) as stub:
        first = (await stub.CreateBuild(order(tmp_path / "out"))).build
        assert (await ended(stub, first.id)).progress.failed > 0
        services.fault = None
        second = order(tmp_path / "out", "two", retryFailed=True)
        again = (await stub.CreateBuild(second)).build
        assert (await ended(stub, again.id)).progress.failed == 0


async def test_pages_stay_whole_while_builds_come(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as stub:
        ids = []
        for number in range(5):
            request = order(tmp_path / str(number), f"r{number}", spec={"candidates": 1})
            ids.append((await stub.CreateBuild(request)).build.id)
        first = await stub.ListBuilds(pb.ListBuildsRequest(page_size=2))
        await stub.CreateBuild(order(tmp_path / "new", "new", spec={"candidates": 1}))
        second = await stub.ListBuilds(
            pb.ListBuildsRequest(page_size=2, page_token=first.next_page_token)
        )
        third = await stub.ListBuilds(
            pb.ListBuildsRequest(page_size=2, page_token=second.next_page_token)
        )
        listed = [build.id for page in (first, second, third) for build in page.builds]
        assert listed == ids[::-1]
        assert third.next_page_token == ""


async def test_delete(tmp_path: Path) -> None:
    gate = Gate(0)
    async with serving(tmp_path / "state", FakeServices(gate=gate)) as stub:
        made = (await stub.CreateBuild(order(tmp_path / "out"))).build
        delete = pb.DeleteBuildRequest(id=made.id, delete_files=True)
        assert (await refusal(stub.DeleteBuild(delete))).reason == "BUILD_RUNS"
        gate.open.set()
        await ended(stub, made.id)
        (tmp_path / "out" / "notes.txt").write_text("mine")
        await stub.DeleteBuild(delete)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
        gone = await refusal(stub.GetBuild(pb.GetBuildRequest(id=made.id)))
        assert gone.code == grpc.StatusCode.NOT_FOUND
        kept = (await stub.CreateBuild(order(tmp_path / "kept", "two"))).build
        await ended(stub, kept.id)
        await stub.DeleteBuild(pb.DeleteBuildRequest(id=kept.id))
        assert not verify(tmp_path / "kept")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"requestId": ""}, "request_id"),
        ({"requestId": "a/b"}, "request_id"),
        ({"requestId": "x" * 129}, "request_id"),
        ({"output": "relative"}, "output"),
        ({"output": ""}, "output"),
        ({"output": "/tmp/../etc"}, "output"),
        ({"output": "/tmp/a\0b"}, "output"),
        ({"output": "/proc/nothing/here"}, "output"),
        ({"output": "/usr"}, "output"),
        ({"spec": {}}, "spec.size"),
        ({"spec": {"candidates": 0}}, "spec.candidates"),
        ({"spec": {"accepted": 10_000_001}}, "spec.accepted"),
        ({"spec": {"candidates": 1, "truncationPsi": "NaN"}}, "spec.truncation_psi"),
        ({"spec": {"candidates": 1, "truncationPsi": 1.6}}, "spec.truncation_psi"),
        ({"spec": {"candidates": 1, "stages": ["sketch", "hair"]}}, "spec.stages"),
        ({"spec": {"candidates": 1, "stages": ["none", "sketch"]}}, "spec.stages"),
        ({"spec": {"candidates": 1, "threshold": 1.5}}, "spec.threshold"),
        ({"spec": {"candidates": 1, "threshold": "NaN"}}, "spec.threshold"),
        ({"spec": {"candidates": 5, "top": 6}}, "spec.top"),
        ({"spec": {"accepted": 5, "top": 5}}, "spec.top"),
        ({"spec": {"candidates": 5, "top": 5, "threshold": 0.5}}, "spec.top"),
        ({"pool": "relative"}, "pool"),
        ({"pool": "/usr"}, "pool"),
        ({"jobs": 65}, "jobs"),
        ({"shards": 100_001}, "shards"),
    ],
)
async def test_a_wrong_order_names_its_field(
    fields: dict[str, Any], field: str, tmp_path: Path
) -> None:
    async with serving(tmp_path / "state") as stub:
        error = await refusal(stub.CreateBuild(order(tmp_path / "out", **fields)))
        assert (error.code, error.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
        assert not (await stub.ListBuilds(pb.ListBuildsRequest())).builds


async def test_an_order_with_stages_a_filter_and_a_pool(tmp_path: Path) -> None:
    pool, output = tmp_path / "pool", tmp_path / "out"
    asked = {"candidates": 130, "stages": ["sketch:classical"], "top": 7}
    async with serving(tmp_path / "state") as stub:
        scores = order(pool, "scores", spec={"candidates": 130, "stages": ["none"], "top": 0})
        await ended(stub, (await stub.CreateBuild(scores)).build.id)
        made = (await stub.CreateBuild(order(output, spec=asked, pool=str(pool)))).build
        done = await ended(stub, made.id)
        again = await refusal(stub.CreateBuild(order(output, spec=asked)))
    assert (done.state, done.progress.accepted) == (pb.BUILD_STATE_SUCCEEDED, 7)
    assert ParseDict(asked, pb.BuildSpec(truncation_psi=0.7)) == done.spec
    assert {path.name for path in output.iterdir() if path.is_dir()} == {
        ".build", "images", "classical_sketches",
    }  # fmt: skip
    # The pool is a part of what was asked for.
    assert again.code == grpc.StatusCode.ALREADY_EXISTS
    # The service that comes after this one reads the record.
    async with serving(tmp_path / "state") as stub:
        assert (await stub.GetBuild(pb.GetBuildRequest(id=made.id))).build.spec == done.spec


async def test_wrong_names_and_tokens(tmp_path: Path) -> None:
    async with serving(tmp_path / "state") as stub:
        for call in (
            stub.GetBuild(pb.GetBuildRequest(id="no")),
            stub.CancelBuild(pb.CancelBuildRequest(id="no")),
            stub.DeleteBuild(pb.DeleteBuildRequest(id="../x")),
            ended(stub, "no"),
        ):
            assert (await refusal(call)).code == grpc.StatusCode.NOT_FOUND
        for token in ("x", "ä", "MTIz"):
            error = await refusal(stub.ListBuilds(pb.ListBuildsRequest(page_token=token)))
            assert error.field == "page_token"
        error = await refusal(stub.ListBuilds(pb.ListBuildsRequest(page_size=1001)))
        assert error.field == "page_size"
