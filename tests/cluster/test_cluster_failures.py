"""Builds that fail on a real cluster say why, and the same command finishes them when the cause is gone."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cluster.cluster import SMALL, USER, Cluster, Done, within
from tests.cluster.datasets import Local
from tests.cluster.pipeline_api import PipelineApi, committed
from tests.cluster.test_quota import set_quota

pytestmark = pytest.mark.cluster


class Command:
    """A build by the command line, in the pipeline service's pod."""

    def __init__(self, cluster: Cluster, pipeline: PipelineApi, small: Local, output: str) -> None:
        self.output = output
        self._cluster = cluster
        self._pipeline = pipeline
        self._small = small

    def run(self) -> Done:
        size = str(self._small.candidates)
        options = ["--out", self.output, "--candidates", size, "--shards", "3", "--json"]
        return self._cluster.faceloom("build", *options)

    def fails(self, reason: str) -> None:
        """With that reason in everything that an operator looks at."""
        done = self.run()
        assert done.returncode == 1, done
        assert reason in done.stderr
        build = self._pipeline.of(self.output)
        assert build["state"] == "BUILD_STATE_FAILED"
        assert reason in build["error"]
        [told] = [
            event["message"]
            for event in self._cluster.objects("events")
            if event["involvedObject"]["name"] == f"faceloom-build-{build['id']}"
            and event["reason"] == "BuildFailed"
        ]
        assert told == build["error"]
        assert self._cluster.objects("jobs") == []

    def finishes(self) -> None:
        """With the dataset of a build that nothing happened to, when the pods of the one before have ended:
        they take the processors of this small node."""
        workers = "app.kubernetes.io/name=build-worker"
        within(180, "workers do not end", lambda: not self._cluster.objects("pods", workers))
        done = self.run()
        assert done.returncode == 0, done.stderr
        assert self._small.digest in done.stdout


@pytest.fixture
def command(
    cluster: Cluster, pipeline: PipelineApi, small: Local, request: pytest.FixtureRequest
) -> Command:
    """A build of its own for every test."""
    return Command(cluster, pipeline, small, f"/data/{request.node.name}")


def test_a_namespace_without_room_for_jobs(cluster: Cluster, command: Command) -> None:
    set_quota(cluster, "count/jobs.batch=0")
    try:
        command.fails("exceeded quota: builds, requested: count/jobs.batch=1")
    finally:
        cluster.kubectl("delete", "quota", "builds")
    command.finishes()


def test_a_folder_that_workers_cannot_write(cluster: Cluster, command: Command) -> None:
    shards = cluster.data / command.output.removeprefix("/data/") / ".build" / "shards"
    shards.mkdir(parents=True)
    for folder in (shards.parent, shards.parent.parent):
        os.chown(folder, USER, USER)

    command.fails("failed 2 times; its worker ended with exit code 1: cannot write to /data/")

    os.chown(shards, USER, USER)
    command.finishes()


def test_an_image_that_cannot_be_pulled(cluster: Cluster, command: Command) -> None:
    [pod] = cluster.objects("pods", "app.kubernetes.io/name=pipeline")
    image = pod["spec"]["containers"][0]["image"]
    # Nobody listens there, which is known at once.
    cluster.set_pipeline("FACELOOM_WORKER_IMAGE=localhost:1/faceloom/pipeline:1")
    try:
        command.fails("the image localhost:1/faceloom/pipeline:1 cannot be pulled: ")
    finally:
        cluster.set_pipeline(f"FACELOOM_WORKER_IMAGE={image}")
    command.finishes()


def test_a_volume_that_fills_up(cluster: Cluster, pipeline: PipelineApi, small: Local) -> None:
    """When something is committed already, that stays and is not made again."""
    shards = cluster.small / "faces" / ".build" / "shards"
    command = Command(cluster, pipeline, small, f"/data/{SMALL}/faces")
    with ThreadPoolExecutor() as pool:
        filling = pool.submit(fill, shards, cluster.small / "ballast")
        command.fails("No space left on device")
        ballast = filling.result()
    kept = manifests(shards)
    assert len(kept) == committed(pipeline.of(command.output)) >= 1

    ballast.unlink()
    command.finishes()
    assert kept.items() <= manifests(shards).items()


def fill(shards: Path, ballast: Path) -> Path:
    """Leaves no room on the volume, as soon as a shard is committed."""
    within(120, "no shard is committed", lambda: manifests(shards))
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def manifests(shards: Path) -> dict[Path, int]:
    """What is committed, and when that was."""
    return {path: path.stat().st_mtime_ns for path in shards.glob("0*/manifest.json")}
