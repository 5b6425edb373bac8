"""Builds as Jobs that cannot go on say why, and leave nothing behind."""

from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config
from tests.builds.api import ended, order
from tests.builds.fake_cluster import FakeCluster
from tests.builds.fake_services import FakeServices
from tests.builds.job_builds import NEW, OLD, SPEC, Setup, committed, until

from faceloom.builds.executors.cluster import Cluster
from faceloom.core.errors import FailedPrecondition, UsageError
from faceloom.pipeline.v1 import pipeline_pb2 as pb


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


def test_a_kubeconfig_that_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("root:x:0:0")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))

    with pytest.raises(UsageError, match=r"^KUBECONFIG names a file that is no kubeconfig$"):
        Cluster("faces")
