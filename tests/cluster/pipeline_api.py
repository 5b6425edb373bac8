"""The pipeline service's API from outside of its pods."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.cluster import NAMESPACE, Cluster, within

Build = dict[str, Any]
ENDED = {"BUILD_STATE_SUCCEEDED", "BUILD_STATE_FAILED", "BUILD_STATE_CANCELLED"}


class PipelineApi:
    """Calls the service. Answers are protobuf's JSON, so what is zero or empty is missing in them."""

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge

    def call(self, method: str, **fields: Any) -> dict[str, Any]:
        """The answer, or `{"code": ..., "details": ...}`."""
        self._bridge.stdin.write(f"{method} {json.dumps(fields)}\n")
        self._bridge.stdin.flush()
        return dict(json.loads(self._bridge.stdout.readline()))

    def create(self, output: str, **fields: Any) -> Build:
        """A new build."""
        answer = self.call(
            "CreateBuild", requestId=output.replace("/", "."), output=output, **fields
        )
        return dict(answer["build"])

    def of(self, output: str) -> Build:
        """The build that writes there, as GetBuild shows it."""
        [found] = [one for one in self.call("ListBuilds")["builds"] if one["output"] == output]
        return dict(self.call("GetBuild", id=found["id"])["build"])

    def until(self, build: Build, what: str, there: Callable[[Build], bool]) -> Build:
        """The build when it has come so far. A service that is away for a moment is asked again."""

        def come() -> Build | None:
            now = self.call("GetBuild", id=build["id"]).get("build")
            return now if now and there(now) else None

        return dict(within(480, f"the build has not come to: {what}", come))


def committed(build: Build) -> int:
    """How many of its shards are."""
    return int(build["progress"].get("shardsCommitted", 0))


def ended(build: Build) -> bool:
    """Whether it is over."""
    return build["state"] in ENDED


def notes(build: Build) -> str:
    """What it says besides numbers."""
    return "\n".join(build.get("notes", ()))


@contextmanager
def pipeline_api(cluster: Cluster) -> Iterator[PipelineApi]:
    """As long as the block."""
    target = f"pipeline.{NAMESPACE}.svc.cluster.local:50051"
    bridge = cluster.start_inside("tests.cluster.pipeline_bridge", target)
    try:
        yield PipelineApi(bridge)
    finally:
        bridge.communicate()
