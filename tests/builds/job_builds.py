"""The pipeline service beside a small API server, whose pods are processes of this machine."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import kube_config
from prometheus_client import CollectorRegistry
from tests.builds.api import connected
from tests.builds.fake_cluster import FakeCluster
from tests.builds.fake_services import FakeServices
from tests.builds.served import served

from faceloom.builds.executors.cluster import Cluster
from faceloom.builds.executors.kubernetes import KubernetesExecutor
from faceloom.builds.executors.settings import ClusterSettings
from faceloom.builds.retrying import Patience
from faceloom.pipeline.v1 import pipeline_pb2 as pb

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
        patience: Patience | None = None,
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
        executor = KubernetesExecutor(
            settings, Cluster("faceloom"), services.client(), patience or Patience()
        )
        async with (
            served(self.folder / "state", services, executor, registry) as port,
            connected(port) as stub,
        ):
            yield stub


async def until(stub: Any, build_id: str, there: Callable[[pb.Build], bool]) -> pb.Build:
    """The build when it has come so far."""
    async for answer in stub.WatchBuild(pb.WatchBuildRequest(id=build_id)):
        if there(answer.build):
            return answer.build
    raise AssertionError("the build ended before")


def committed(shards: int) -> Callable[[pb.Build], bool]:
    return lambda build: build.progress.shards_committed >= shards
