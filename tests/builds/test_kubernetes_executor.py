"""Builds as Jobs, over the pipeline service's API."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.builds.api import connected, ended, order
from tests.builds.exposition import lasting, told
from tests.builds.fake_cluster import FakeCluster
from tests.builds.fake_services import FakeServices, poison, times
from tests.builds.job_builds import NEW, OLD, SPEC, Setup, committed, until
from tests.builds.served import served
from tests.builds.test_same_bytes import files_of
from tests.builds.workers import drafts

from faceloom.builds.options import BuildOptions
from faceloom.builds.retrying import Patience
from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import Internal, Unavailable
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb


@pytest.mark.parametrize("version", [NEW, OLD])
async def test_a_build_that_loses_a_worker_is_the_build_of_one_machine(
    version: tuple[int, int], setup: Setup, tmp_path: Path
) -> None:
    local = await run_build(BuildSpec(candidates=400), tmp_path / "local", FakeServices().client())
    services = FakeServices()
    with FakeCluster(version) as cluster:
        async with setup.serving(cluster, services) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            await until(stub, made.id, committed(1))
            cluster.running()[0].process.kill()
            done = await ended(stub, made.id)
        assert not cluster.jobs
    assert (done.state, done.error) == (pb.BUILD_STATE_SUCCEEDED, "")
    assert done.dataset_digest == local.summary.dataset_digest
    assert files_of(setup.data / "out") == files_of(local.output)
    assert not verify(setup.data / "out")
    assert any("1.20" in note for note in done.notes) == (version == OLD)
    assert done.progress.shards_committed == done.progress.shards == 4
    assert services.calls["generator"] == 2  # to plan, and to put the dataset together


async def test_what_workers_did_that_are_gone_is_told_as_if_it_was_done_here(
    setup: Setup, tmp_path: Path
) -> None:
    there, here = CollectorRegistry(), CollectorRegistry()
    with FakeCluster() as cluster:
        async with setup.serving(cluster, registry=there) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            await until(stub, made.id, committed(1))
            cluster.running()[0].process.kill()
            await ended(stub, made.id)
    async with (
        served(tmp_path / "local", FakeServices(), registry=here) as port,
        connected(port) as stub,
    ):
        made = (await stub.CreateBuild(order(tmp_path / "out", **SPEC))).build
        await ended(stub, made.id)
    local = lasting(told(here))

    for name, samples in lasting(told(there)).items():
        assert samples == pytest.approx(local[name]), name
    assert sum(local["faceloom_build_items_total"].values()) == 400


async def test_what_workers_spent_is_told_with_what_was_spent_here(setup: Setup) -> None:
    registry = CollectorRegistry()
    busy = FakeServices(fault=times(3, "sketch", Unavailable("restarting")))
    with FakeCluster(environment={"BUSY": "sketch"}) as cluster:
        async with setup.serving(cluster, busy, registry=registry) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            await until(stub, made.id, committed(4))
            during = told(registry)
            await ended(stub, made.id)
        after = told(registry)

    # To plan, and of each worker.
    assert after["faceloom_build_retries_total"][made.id, "sketch"] == 3 + 4
    seconds = "faceloom_build_stage_seconds_total"
    assert during[seconds][made.id, "encode"] > 0
    assert after[seconds][made.id, "encode"] >= during[seconds][made.id, "encode"]
    assert after[seconds][made.id, "finalize"] > 0


async def test_a_service_that_is_restarted_finds_its_job(setup: Setup, tmp_path: Path) -> None:
    """Also while the models are away."""
    back = asyncio.Event()

    async def away(service: str, calls: int) -> None:
        await back.wait()

    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            await until(stub, made.id, committed(1))
        assert len(cluster.jobs) == 1
        async with setup.serving(cluster, FakeServices(gate=away)) as stub:
            await until(stub, made.id, committed(4))
            back.set()
            done = await ended(stub, made.id)
        assert cluster.requests["POST jobs"] == 2
    assert done.state == pb.BUILD_STATE_SUCCEEDED
    local = await run_build(BuildSpec(candidates=400), tmp_path / "local", FakeServices().client())
    assert done.dataset_digest == local.summary.dataset_digest


async def test_a_service_that_restarts_at_the_end_is_waited_for(setup: Setup) -> None:
    """Longer than by whoever orders a build: its shards are made."""
    restarting = times(3, "generator", Unavailable("restarting"))

    def fault(service: str, seeds: set[int]) -> None:
        if cluster.jobs:
            restarting(service, seeds)

    with FakeCluster() as cluster:
        services, short = FakeServices(fault=fault), Patience(silence=0.0)
        async with setup.serving(cluster, services, patience=short) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            done = await ended(stub, made.id)
    assert (done.state, done.error) == (pb.BUILD_STATE_SUCCEEDED, "")
    assert services.calls["generator"] == 1 + 3 + 1


async def test_cancel_ends_workers_and_keeps_what_is_committed(setup: Setup) -> None:
    request = order(setup.data / "out", **SPEC)
    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(request)).build
            await until(stub, made.id, committed(1))
            ending = (await stub.CancelBuild(pb.CancelBuildRequest(id=made.id))).build
            assert ending.state == pb.BUILD_STATE_CANCELLED
            assert not cluster.jobs and not cluster.running()
            assert not drafts(setup.data / "out")
            kept = list((setup.data / "out" / ".build" / "shards").iterdir())
            assert kept
            again = (await stub.CreateBuild(request)).build
            assert again.id == made.id
            assert (await ended(stub, made.id)).state == pb.BUILD_STATE_SUCCEEDED
    assert all(shard.exists() for shard in kept)


async def test_workers_make_failed_candidates_again(setup: Setup, tmp_path: Path) -> None:
    spec = BuildSpec(candidates=256)
    local = await run_build(spec, tmp_path / "local", FakeServices().client())
    bad = FakeServices(fault=poison("sketch", set(range(0, 256, 20)), Internal("bug")))
    first = await run_build(spec, setup.data / "out", bad.client(), BuildOptions(shards=2))
    assert first.summary.failed > 0
    request = order(setup.data / "out", spec={"candidates": 256}, retryFailed=True)
    services = FakeServices()
    with FakeCluster() as cluster:
        async with setup.serving(cluster, services) as stub:
            made = (await stub.CreateBuild(request)).build
            done = await ended(stub, made.id)
    assert (done.state, done.progress.failed) == (pb.BUILD_STATE_SUCCEEDED, 0)
    assert done.dataset_digest == local.summary.dataset_digest
    assert services.calls["generator"] == 2  # to plan, and to put the dataset together
