"""Builds as Jobs of a real cluster."""

from pathlib import Path

import pytest
from tests.builds.test_same_bytes import files_of
from tests.cluster.cluster import Cluster, within
from tests.cluster.datasets import build_here
from tests.cluster.pipeline_api import PipelineApi, committed, ended

pytestmark = pytest.mark.cluster

CANDIDATES = 1024


def test_a_build_that_loses_pods_is_the_build_of_one_machine(
    cluster: Cluster, pipeline: PipelineApi, tmp_path: Path
) -> None:
    """A worker, the generator and the pipeline service go while it is made."""
    build = pipeline.create("/data/faces", spec={"candidates": CANDIDATES}, shards=8)
    pipeline.until(build, "a shard", lambda now: committed(now) >= 1)
    lost = cluster.pods("build-worker", "Running")[0]
    cluster.kubectl("delete", "pod", lost, "--force", "--grace-period=0")
    # Together: workers cannot finish while the service is away that follows them.
    gone = [*cluster.pods("generator"), *cluster.pods("pipeline")]
    cluster.kubectl("delete", "pod", *gone, "--wait=false")
    within(240, "nobody took the Job up", lambda: '"new": false' in log_of_pipeline(cluster))

    done = pipeline.until(build, "its end", ended)

    assert done["state"] == "BUILD_STATE_SUCCEEDED", done
    assert cluster.objects("jobs") == []
    # What workers spent, too.
    assert done["progress"]["stageSeconds"]["encode"] > 0
    started = [one for one in cluster.objects("events") if one["reason"] == "SuccessfulCreate"]
    assert len(started) > 8
    local = build_here(tmp_path / "local", CANDIDATES)
    assert done["datasetDigest"] == local.digest
    assert files_of(cluster.data / "faces") == files_of(local.output)


def log_of_pipeline(cluster: Cluster) -> str:
    return cluster.try_kubectl("logs", "deploy/pipeline").stdout
