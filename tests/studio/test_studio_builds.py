"""Builds ordered in the studio are builds of the pipeline service."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from tests.builds.api import Gate
from tests.builds.fake_services import FakeServices
from tests.builds.served import served
from tests.contract.fronts import free_port
from tests.studio.conftest import Studio

from faceloom.clients.client import Faceloom
from faceloom.clients.pipeline import PipelineClient
from faceloom.datasets.summary import read_summary
from faceloom.runtime.retrying import Retrying
from faceloom.studio.app import studio_app
from faceloom.studio.datasets import Datasets
from faceloom.studio.labels import LabelStore
from faceloom.studio.metrics import StudioMetrics

ORDER = {"request_id": "one", "name": "more", "candidates": 130}


async def order(http: TestClient, **change: object) -> tuple[int, Any]:
    async with http.post("/api/builds", json=ORDER | change) as found:
        return found.status, await found.json()


async def newest(http: TestClient) -> dict[str, Any]:
    async with http.get("/api/builds") as found:
        build: dict[str, Any] = (await found.json())["builds"][0]
        return build


async def ended(http: TestClient) -> dict[str, Any]:
    """The build, once it has ended."""
    async with asyncio.timeout(30):
        while (build := await newest(http))["ended"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return build


async def test_an_order_becomes_a_dataset_of_the_gallery(studio: Studio) -> None:
    status, made = await order(studio.http, accepted=None, seed=3, truncation_psi=0.5)
    build = await ended(studio.http)
    summary = read_summary(studio.root / "more")
    async with studio.http.get("/api/datasets") as found:
        names = [one["name"] for one in (await found.json())["datasets"]]

    assert status == 201
    assert (build["id"], build["state"], build["error"]) == (made["id"], "SUCCEEDED", "")
    assert (build["target"], build["of"], build["seed"], build["name"]) == (
        130, "candidates", 3, "more",
    )  # fmt: skip
    assert summary is not None
    assert (build["processed"], build["kept"]) == (130, summary.accepted)
    assert build["ended"] >= build["created"]
    assert names == ["more", "faces"]


async def test_a_second_click_orders_nothing_twice(studio: Studio) -> None:
    _, first = await order(studio.http)
    _, second = await order(studio.http)
    async with studio.http.get("/api/builds") as found:
        builds = (await found.json())["builds"]

    assert first["id"] == second["id"]
    assert len(builds) == 1
    assert (await order(studio.http, name="other"))[0] == 409


async def test_a_build_is_stopped(root: Path, tmp_path: Path) -> None:
    gate = Gate(1)
    with LabelStore(f"sqlite:///{tmp_path / 'labels.db'}") as labels:
        async with (
            served(tmp_path / "state", FakeServices(gate=gate)) as port,
            PipelineClient(f"127.0.0.1:{port}") as pipeline,
            _alone(root, labels, pipeline) as http,
        ):
            _, made = await order(http)
            await gate.reached.wait()
            async with http.post(f"/api/builds/{made['id']}/cancel") as found:
                assert found.status == 200
            assert (await ended(http))["state"] == "CANCELLED"
            async with http.post("/api/builds/nobody/cancel") as found:
                assert found.status == 404


async def test_without_a_pipeline_service(root: Path, tmp_path: Path) -> None:
    with LabelStore(f"sqlite:///{tmp_path / 'labels.db'}") as labels:
        async with (
            PipelineClient(f"127.0.0.1:{free_port()}", retrying=Retrying(wait=0)) as pipeline,
            _alone(root, labels, pipeline) as http,
        ):
            status, found = await order(http)

    assert status == 503
    assert found["error"].startswith("the pipeline service does not answer at 127.0.0.1:")


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"name": "../up"}, 400, "name: String should match pattern"),
        ({"name": ".hidden"}, 400, "name: String should match pattern"),
        ({"candidates": 0}, 400, "candidates: Input should be greater than"),
        ({"candidates": None}, 400, "give either candidates or accepted"),
        ({"seed": 2**32}, 400, "seed: Input should be less than"),
        ({"request_id": ""}, 400, "give 1 to 128 letters"),
    ],
)
async def test_what_is_no_order(
    studio: Studio, change: dict[str, object], status: int, message: str
) -> None:
    answered, found = await order(studio.http, **change)

    assert (answered, found["error"][: len(message)]) == (status, message)
    async with studio.http.get("/api/builds") as listed:
        assert (await listed.json())["builds"] == []


def _alone(root: Path, labels: LabelStore, pipeline: PipelineClient) -> TestClient:
    """A studio without models."""
    app = studio_app(
        Datasets(root),
        labels,
        Faceloom(FakeServices()),
        pipeline,
        StudioMetrics(CollectorRegistry()),
    )
    return TestClient(TestServer(app))
