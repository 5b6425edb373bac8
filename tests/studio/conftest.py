"""The studio inside a test, over the tiny models, one real dataset and a pipeline service."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from tests.builds.fake_services import FakeServices
from tests.builds.served import served

from faceloom.builds.options import BuildOptions
from faceloom.builds.run import run_build
from faceloom.clients.client import Faceloom
from faceloom.clients.in_process import InProcessCaller
from faceloom.clients.pipeline import PipelineClient
from faceloom.datasets.spec import BuildSpec
from faceloom.studio.app import studio_app
from faceloom.studio.datasets import Datasets
from faceloom.studio.labels import LabelStore
from faceloom.studio.metrics import StudioMetrics

CANDIDATES = 192


@dataclass(frozen=True)
class Studio:
    """A studio, and what it works on.

    Args:
        http: Calls it.
        faceloom: The models that it calls.
        root: Where its datasets are; `faces` is one of them.
        registry: Its metrics.
    """

    http: TestClient
    faceloom: Faceloom
    root: Path
    registry: CollectorRegistry

    @property
    def faces(self) -> Path:
        return self.root / "faces"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the tiny models."""
    folder = tmp_path_factory.mktemp("built") / "faces"

    async def build() -> None:
        async with Faceloom(InProcessCaller()) as faceloom:
            await run_build(BuildSpec(CANDIDATES), folder, faceloom, BuildOptions(), lambda _: None)

    asyncio.run(build())
    return folder


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """A folder with that dataset in it, under a second name of every file."""
    target = tmp_path / "datasets" / "faces"
    for file in built.rglob("*"):
        if file.is_file() and ".build" not in file.parts:
            place = target / file.relative_to(built)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, place)
    return target.parent


@pytest.fixture
async def studio(root: Path, tmp_path: Path) -> AsyncIterator[Studio]:
    registry = CollectorRegistry()
    async with (
        served(tmp_path / "state", FakeServices()) as port,
        Faceloom(InProcessCaller()) as faceloom,
        PipelineClient(f"127.0.0.1:{port}") as pipeline,
    ):
        with LabelStore(f"sqlite:///{tmp_path / 'labels.db'}") as labels:
            app = studio_app(Datasets(root), labels, faceloom, pipeline, StudioMetrics(registry))
            async with TestClient(TestServer(app)) as http:
                yield Studio(http, faceloom, root, registry)
