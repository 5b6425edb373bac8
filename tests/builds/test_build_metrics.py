"""What Prometheus reads of builds: true, bounded, and never less than before."""

import json
import shutil
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.builds.api import Gate, connected, ended, order
from tests.builds.exposition import LASTING, lasting, told
from tests.builds.fake_services import FakeServices, poison, times
from tests.builds.served import served

from faceloom.builds.run import run_build
from faceloom.builds.service.metrics import SHOWN
from faceloom.builds.shard_stats import SCORE_BOUNDS
from faceloom.core.errors import Internal, Unavailable
from faceloom.datasets.layout import SPENT
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb

SECONDS = "faceloom_build_stage_seconds_total"


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


async def test_what_is_told_is_what_the_dataset_holds(tmp_path: Path) -> None:
    registry, out = CollectorRegistry(), tmp_path / "out"
    services = FakeServices(fault=poison("sketch", set(range(0, 400, 9)), Internal("bug")))
    async with served(tmp_path / "state", services, registry=registry) as port:
        async with connected(port) as stub:
            made = (await stub.CreateBuild(order(out, spec={"candidates": 400}, shards=3))).build
            done = await ended(stub, made.id)
        samples = told(registry)
    build = made.id
    accepted, failed = rows(out, "metadata.jsonl"), rows(out, "failed.jsonl")
    judged = [row["quality"] for row in accepted + rows(out, "rejected.jsonl")]
    assert failed
    assert samples["faceloom_build_items_total"] == {
        (build, "accepted"): len(accepted),
        (build, "rejected"): 400 - len(accepted) - len(failed),
        (build, "failed"): len(failed),
    }
    reasons = Counter((build, row["reason"], row["service"]) for row in failed)
    assert samples["faceloom_build_failures_total"] == reasons
    places = [bisect_left(SCORE_BOUNDS, score) for score in judged]
    assert samples["faceloom_build_quality_score_bucket"] == {
        (build, *bound): sum(place <= at for place in places)
        for at, bound in enumerate([*((str(one),) for one in SCORE_BOUNDS), ("+Inf",)])
    }
    assert samples["faceloom_build_quality_score_sum"][build,] == pytest.approx(sum(judged))
    files = [path for path in (out / ".build" / "shards").rglob("*") if path.is_file()]
    written = sum(path.stat().st_size for path in files if path.name != "manifest.json")
    assert samples["faceloom_build_stored_bytes_total"] == {(build,): written}
    assert samples["faceloom_build_progress_ratio"] == {(build,): 1.0}
    assert samples["faceloom_build_shards"] == {(build,): 3}
    assert samples["faceloom_build_shards_committed_total"] == {(build,): 3}
    assert samples["faceloom_build_state"][build, "succeeded"] == 1
    assert sum(samples["faceloom_build_state"].values()) == 1
    [labels] = samples["faceloom_build_info"]
    assert labels == (build, done.dataset_digest, str(out), done.recipe_digest)
    last = samples["faceloom_build_last_commit_timestamp_seconds"][build,]
    end = samples["faceloom_build_ended_timestamp_seconds"][build, "", "succeeded"]
    assert samples["faceloom_build_created_timestamp_seconds"][build,] <= last <= end


async def test_nothing_goes_back_when_the_service_is_started_again(tmp_path: Path) -> None:
    request = order(tmp_path / "out", spec={"candidates": 400}, jobs=1, shards=7)
    gate, registry = Gate(4), CollectorRegistry()
    services = FakeServices(gate=gate, fault=times(3, "quality", Unavailable("restarting")))
    async with served(tmp_path / "state", services, registry=registry) as port:
        async with connected(port) as stub:
            made = (await stub.CreateBuild(request)).build
            await gate.reached.wait()
        before = told(registry)
    assert before["faceloom_build_shards_committed_total"][made.id,] > 0
    assert before["faceloom_build_retries_total"][made.id, "quality"] == 3

    gate, registry = Gate(0), CollectorRegistry()
    async with served(tmp_path / "state", FakeServices(gate=gate), registry=registry) as port:
        # It asks the services what they are, and they do not answer yet.
        await gate.reached.wait()
        between = told(registry)
        gate.open.set()
        async with connected(port) as stub:
            await ended(stub, made.id)
        after = told(registry)

    assert between["faceloom_build_state"][made.id, "pending"] == 1
    assert lasting(between) == lasting(before)
    for earlier, later in ((before, between), (between, after)):
        for name in (*LASTING, SECONDS):
            for labels, value in earlier.get(name, {}).items():
                assert later[name][labels] >= value
    assert after[SECONDS][made.id, "generator"] > before[SECONDS][made.id, "generator"] > 0
    assert sum(after["faceloom_build_items_total"].values()) == 400


async def test_a_failed_build_says_when_and_why(tmp_path: Path) -> None:
    def fault(service: str, seeds: set[int]) -> None:
        if service == "sketch" and max(seeds) > 64:
            raise Internal("bug")

    registry = CollectorRegistry()
    async with served(tmp_path / "state", FakeServices(fault=fault), registry=registry) as port:
        async with connected(port) as stub:
            made = (await stub.CreateBuild(order(tmp_path / "out"))).build
            assert (await ended(stub, made.id)).state == pb.BUILD_STATE_FAILED
        first = told(registry)["faceloom_build_ended_timestamp_seconds"]
    registry = CollectorRegistry()
    async with served(tmp_path / "state", FakeServices(), registry=registry):
        second = told(registry)["faceloom_build_ended_timestamp_seconds"]

    assert first.keys() == {(made.id, "SERVICE_BROKEN", "failed")}
    assert second == first


async def test_what_a_build_took_is_told_by_the_next_service_too(tmp_path: Path) -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    services = FakeServices(fault=times(2, "sketch", Unavailable("restarting")))
    async with served(tmp_path / "state", services, registry=first) as port:
        async with connected(port) as stub:
            made = (await stub.CreateBuild(order(tmp_path / "out"))).build
            await ended(stub, made.id)
        before = told(first)
    async with served(tmp_path / "state", FakeServices(), registry=second):
        after = told(second)

    assert before["faceloom_build_retries_total"] == {
        (made.id, service): 2 * (service == "sketch")
        for service in ("generator", "quality", "sketch", "segmentation")
    }
    assert after["faceloom_build_retries_total"] == before["faceloom_build_retries_total"]
    assert after[SECONDS] == before[SECONDS]


async def test_a_build_does_not_depend_on_its_records(tmp_path: Path) -> None:
    """One is damaged; then there is no place for more."""
    records = tmp_path / "out" / SPENT
    await run_build(BuildSpec(candidates=64), tmp_path / "out", FakeServices().client())
    [record] = records.iterdir()
    record.write_text('{"seconds": {"generator": "long"}}')
    (tmp_path / "out" / "dataset.json").unlink()
    again = await run_build(BuildSpec(candidates=64), tmp_path / "out", FakeServices().client())
    shutil.rmtree(records)
    records.write_bytes(b"")
    (tmp_path / "out" / "dataset.json").unlink()

    last = await run_build(BuildSpec(candidates=64), tmp_path / "out", FakeServices().client())

    assert last.summary == again.summary
    assert last.progress.seconds["finalize"] > 0


async def test_builds_that_ended_long_ago_are_counted_and_not_named(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    async with served(tmp_path / "state", FakeServices(), registry=registry) as port:
        async with connected(port) as stub:
            ids = []
            for number in range(SHOWN + 2):
                request = order(tmp_path / str(number), f"r{number}", spec={"candidates": 1})
                ids.append((await stub.CreateBuild(request)).build.id)
                await ended(stub, ids[-1])
        samples = told(registry)

    assert samples["faceloom_builds"]["succeeded",] == SHOWN + 2
    assert {labels[0] for labels in samples["faceloom_build_info"]} == set(ids[2:])
