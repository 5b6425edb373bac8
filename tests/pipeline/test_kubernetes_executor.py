"""Builds as Jobs, over the pipeline service's API. The API server is a small one; workers are processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config
from prometheus_client import CollectorRegistry
from tests.pipeline.api import connected, ended, order
from tests.pipeline.exposition import lasting, told
from tests.pipeline.fake_cluster import FakeCluster
from tests.pipeline.fake_services import FakeServices, poison, times
from tests.pipeline.served import served
from tests.pipeline.test_same_bytes import files_of
from tests.pipeline.workers import drafts

from faceloom.pipeline.executors.cluster import Cluster
from faceloom.pipeline.executors.kubernetes import KubernetesExecutor
from faceloom.pipeline.executors.settings import ClusterSettings
from faceloom.pipeline.run import Options, run_build
from faceloom.pipeline.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.pipeline.verify import verify
from faceloom.runtime.errors import FailedPrecondition, Internal, Unavailable

NEW, OLD = (1, 33), (1, 20)
SPEC: dict[str, Any] = {"spec": {"candidates": 400}, "shards": 4}


class Setup:
    """A pipeline service beside a cluster."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._patch = patch

    @asynccontextmanager
    async def serving(
        self,
        cluster: FakeCluster,
        services: FakeServices | None = None,
        stall: float = 60.0,
        registry: CollectorRegistry | None = None,
    ) -> AsyncIterator[Any]:
        config = cluster.write_kubeconfig(self.folder / "kubeconfig")
        self._patch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(config))
        settings = ClusterSettings(
            worker_image="faceloom/pipeline:1",
            namespace="faceloom",
            data_path=self.data,
            parallelism=2,
            attempts=2,
            stall_seconds=stall,
            poll_seconds=0.05,
        )
        services = services or FakeServices()
        executor = KubernetesExecutor(settings, Cluster("faceloom"), services.client())
        async with (
            served(self.folder / "state", services, executor, registry) as port,
            connected(port) as stub,
        ):
            yield stub


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return Setup(tmp_path, monkeypatch)


async def until(stub: Any, build_id: str, there: Callable[[pb.Build], bool]) -> pb.Build:
    """The build when it has come so far."""
    async for answer in stub.WatchBuild(pb.WatchBuildRequest(id=build_id)):
        if there(answer.build):
            return answer.build
    raise AssertionError("the build ended before")


def committed(shards: int) -> Callable[[pb.Build], bool]:
    return lambda build: build.progress.shards_committed >= shards


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


async def test_no_job_is_left_of_a_build_that_ends_otherwise(setup: Setup) -> None:
    def gone(service: str, seeds: set[int]) -> None:
        raise FailedPrecondition("the model was unloaded", reason="GONE")

    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            await until(stub, made.id, committed(1))
        async with setup.serving(cluster, FakeServices(fault=gone)) as stub:
            done = await ended(stub, made.id)
        assert (done.state, done.error) == (pb.BUILD_STATE_FAILED, "the model was unloaded")
        assert not cluster.jobs


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


@pytest.mark.parametrize(
    ("reason", "version", "error"),
    [
        ("GONE", NEW, "failed 2 times; its worker ended with exit code 1: the model was unloaded"),
        ("GONE", OLD, "failed 2 times; its worker ended with exit code 1: the model was unloaded"),
        ("MODEL_CHANGED", NEW, "failed once; its worker ended with exit code 65: the model was"),
        ("MODEL_CHANGED", OLD, "failed once; its worker ended with exit code 65: the model was"),
    ],
)
async def test_a_shard_that_always_fails_ends_the_build(
    reason: str, version: tuple[int, int], error: str, setup: Setup
) -> None:
    broken = {"FAULT": f'{{"service": "sketch", "reason": "{reason}"}}'}
    request = order(setup.data / "out", spec={"candidates": 70}, shards=1)
    with FakeCluster(version, environment=broken) as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(request)).build
            failed = await ended(stub, made.id)
            assert failed.state == pb.BUILD_STATE_FAILED
            assert error in failed.error
            assert not cluster.jobs
            cluster.environment.clear()
            await stub.CreateBuild(request)
            assert (await ended(stub, made.id)).state == pb.BUILD_STATE_SUCCEEDED


async def test_workers_make_failed_candidates_again(setup: Setup, tmp_path: Path) -> None:
    spec = BuildSpec(candidates=256)
    local = await run_build(spec, tmp_path / "local", FakeServices().client())
    bad = FakeServices(fault=poison("sketch", set(range(0, 256, 20)), Internal("bug")))
    first = await run_build(spec, setup.data / "out", bad.client(), Options(shards=2))
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


def waiting(reason: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "no such image"}}
    return {"containerStatuses": [{"name": "worker", "state": state}]}


NO_NODE = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: cpu"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            {"pending": waiting("ImagePullBackOff")},
            "the image faceloom/pipeline:1 cannot be pulled: ImagePullBackOff no such image",
        ),
        (
            {"pending": waiting("CreateContainerConfigError")},
            "workers cannot be started: CreateContainerConfigError no such image",
        ),
        (
            {"pending": {"conditions": [NO_NODE]}},
            "workers find no node: 0/3 nodes are available: cpu",
        ),
        (
            {"refusal": "pods is forbidden: exceeded quota: small, requested: pods=1, limited: 0"},
            "workers are refused: pods is forbidden: exceeded quota: small, requested: pods=1,"
            " limited: 0",
        ),
        (
            {"forbidden": True},
            "the API server does not let the pipeline service create Jobs in namespace faceloom:"
            " jobs.batch is forbidden: no such right",
        ),
    ],
)
async def test_why_nobody_works_is_said(options: Any, error: str, setup: Setup) -> None:
    with FakeCluster(**options) as cluster:
        async with setup.serving(cluster, stall=0.1) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            failed = await ended(stub, made.id)
        assert (failed.state, failed.error) == (pb.BUILD_STATE_FAILED, error)
        assert not cluster.jobs
        assert [told["message"] for told in cluster.warnings] == [error]
        assert cluster.warnings[0]["involvedObject"]["name"] == f"faceloom-build-{made.id}"


async def test_a_job_that_waits_for_a_place_says_so_while_it_waits(setup: Setup) -> None:
    with FakeCluster(refusal="exceeded quota: small") as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order(setup.data / "out", **SPEC))).build
            noted = await until(stub, made.id, lambda build: bool(build.notes))
            cluster.refusal = ""
            assert noted.notes[-1] == "workers are refused: exceeded quota: small"
            done = await ended(stub, made.id)
    assert done.state == pb.BUILD_STATE_SUCCEEDED
    assert not done.notes and not cluster.warnings


async def test_an_output_that_workers_cannot_see_is_refused(setup: Setup, tmp_path: Path) -> None:
    with FakeCluster() as cluster:
        async with setup.serving(cluster) as stub:
            made = (await stub.CreateBuild(order(tmp_path / "elsewhere"))).build
            failed = await ended(stub, made.id)
        assert not cluster.requests["POST jobs"]
    assert failed.error == f"workers see {setup.data} alone; give an output below it"
