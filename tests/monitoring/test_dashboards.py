"""Dashboards are what Grafana takes, and ask for what is there."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.builds.api import connected, ended, order
from tests.builds.exposition import told
from tests.builds.fake_services import FakeServices, poison
from tests.builds.served import served
from tests.contract.fronts import free_port, generate, ready, scrape
from tests.fakes import FakeEngine, fake_service
from tests.monitoring.queries import (
    DASHBOARDS,
    asked,
    dashboard,
    metrics_in,
    of_dashboards,
    of_rules,
)
from tests.monitoring.rules import ROOT, promtool
from tests.rpc import connect

from faceloom.core.errors import Internal
from faceloom.runtime.front import Front
from faceloom.studio.metrics import StudioMetrics

# By Prometheus itself, NVIDIA's DCGM exporter and Istio.
_OTHERS = {
    "up",
    "ALERTS",
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_GPU_TEMP",
    "citadel_server_root_cert_expiry_timestamp",
}
_NAMES = [path.stem for path in DASHBOARDS]


def test_dashboards_keep_their_addresses() -> None:
    assert {name: dashboard(name)["uid"] for name in _NAMES} == {
        "build": "faceloom-build",
        "engine": "faceloom-engine",
        "overview": "faceloom-overview",
        "quality": "faceloom-quality",
        "service": "faceloom-service",
    }


@pytest.mark.parametrize("name", _NAMES)
def test_a_dashboard_fits_every_grafana(name: str) -> None:
    content = dashboard(name)
    variables = {variable["name"] for variable in content["templating"]["list"]}

    assert {"datasource", "namespace", "runbooks"} <= variables
    assert not {"id", "version", "iteration", "__inputs"} & content.keys()
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    for panel in content["panels"]:
        for source in (panel, *panel["targets"]):
            assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = {name for name in variables if f"${name}" in target["expr"]}
            assert "${" not in target["expr"]
            assert "namespace" in used, panel["title"]


@pytest.mark.parametrize("name", _NAMES)
def test_panels_explain_themselves(name: str) -> None:
    for panel in dashboard(name)["panels"]:
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"] and defaults["thresholds"]["steps"][0]["value"] is None
        for link in panel["links"]:
            page = link["url"].replace("${runbooks}", "docs/runbooks")
            assert (ROOT / page).is_file(), panel["title"]


@pytest.mark.parametrize("name", _NAMES)
def test_panels_lie_beside_each_other(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboard(name)["panels"]]

    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_every_expression_is_promql(tmp_path: Path) -> None:
    expressions = [asked(expr) for _, expr in of_dashboards()]
    rules = [{"record": f"x{at}", "expr": expr} for at, expr in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = promtool("check", "rules", file)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(expressions) > 50


def torchserve_names() -> Iterator[str]:
    """What TorchServe can tell, as a front shows it."""
    package = find_spec("ts")
    assert package is not None and package.origin is not None
    names = yaml.safe_load((Path(package.origin).parent / "configs" / "metrics.yaml").read_text())
    for part in ("ts_metrics", "model_metrics"):
        for kind in names[part].values():
            yield from (metric["name"] for metric in kind)


async def front_names() -> set[str]:
    """What a front tells after a call."""
    port = free_port()
    front = Front(fake_service(), FakeEngine(), "127.0.0.1:0", port)
    await front.start()
    async with connect(front.port) as channel:
        await ready(channel)
        await generate(channel)
    lines = (await scrape(port)).splitlines()
    await front.stop(grace=0)
    return {line.partition(" ")[0].partition("{")[0] for line in lines}


async def test_every_metric_that_is_asked_for_is_exported(tmp_path: Path) -> None:
    exported = await front_names()
    registry = CollectorRegistry()
    services = FakeServices(fault=poison("sketch", set(range(0, 130, 9)), Internal("bug")))
    async with (
        served(tmp_path / "state", services, registry=registry) as builds,
        connected(builds) as stub,
    ):
        made = (await stub.CreateBuild(order(tmp_path / "out"))).build
        await ended(stub, made.id)
    studio = StudioMetrics(registry)
    studio.answered("/gallery", "GET", 200, 0.1)
    exported |= told(registry).keys()
    exported |= {*torchserve_names(), *_OTHERS, *(name for name, _ in of_rules())}

    for where, expr in [*of_dashboards(), *of_rules()]:
        assert metrics_in(expr) <= exported, where


def test_metrics_in_an_expression() -> None:
    expr = (
        'sum by (a, b) (rate(x_total{y="z{"}[5m])) / on (c) group_left () (job:y:z > 2) and up == 0'
    )

    assert metrics_in(expr) == {"x_total", "job:y:z", "up"}
