"""A namespace that has no room for the workers of a build."""

import pytest
from tests.cluster.cluster import Cluster, within
from tests.cluster.datasets import Local
from tests.cluster.pipeline_api import PipelineApi, committed, ended, notes

pytestmark = pytest.mark.cluster


def test_a_build_larger_than_the_quota_queues(
    cluster: Cluster, pipeline: PipelineApi, small: Local
) -> None:
    """It waits and says why; with room for one worker it goes on with one at a time."""
    pods = len(cluster.objects("pods", "app.kubernetes.io/component!=build-worker"))
    set_quota(cluster, f"pods={pods}")
    try:
        build = pipeline.create("/data/queued", spec={"candidates": small.candidates}, shards=3)
        waits = pipeline.until(build, "waiting", lambda now: "exceeded quota" in notes(now))
        assert waits["state"] == "BUILD_STATE_RUNNING"
        assert "workers are refused: Error creating: pods" in notes(waits)
        assert not cluster.pods("build-worker")

        set_quota(cluster, f"pods={pods + 1}")
        at_once = set()

        def has_committed() -> bool:
            at_once.add(len(cluster.pods("build-worker")))
            return committed(pipeline.of("/data/queued")) >= 1

        within(120, "nothing is committed with room for one worker", has_committed)
        assert max(at_once) == 1
    finally:
        cluster.kubectl("delete", "quota", "builds")

    done = pipeline.until(build, "its end", ended)

    assert done["state"] == "BUILD_STATE_SUCCEEDED", done
    assert done["datasetDigest"] == small.digest
    assert "exceeded quota" not in notes(done)


def set_quota(cluster: Cluster, hard: str) -> None:
    """Returns when the API server holds to it."""
    name, _, limit = hard.partition("=")
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "builds"},
            "spec": {"hard": {name: limit}},
        }
    )
    path = "--output=jsonpath={.status.hard}"
    within(
        30,
        "the quota is not in force",
        lambda: f'"{limit}"' in cluster.kubectl("get", "quota", "builds", path),
    )
