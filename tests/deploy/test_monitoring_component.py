"""What the component `monitoring` brings to a cluster."""

from pathlib import Path

import pytest
import yaml
from tests.deploy.rendering import DEPLOY, Object, of_kind, pods, render_with

_MONITORING = DEPLOY / "monitoring"


@pytest.fixture
def objects(tmp_path: Path) -> list[Object]:
    return render_with("monitoring", tmp_path)


def test_grafana_finds_every_dashboard(objects: list[Object]) -> None:
    found = of_kind(objects, "ConfigMap")["faceloom-dashboards"]

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = (_MONITORING / "dashboards").glob("*.json")
    assert found["data"] == {file.name: file.read_text() for file in files}
    assert len(found["data"]) == len(list((_MONITORING / "panels").glob("*.yaml")))


def test_prometheus_finds_every_rule(objects: list[Object]) -> None:
    files = (_MONITORING / "rules").glob("*.yaml")
    wanted = [yaml.safe_load(file.read_text()) for file in files]

    assert wanted
    for rule in wanted:
        assert of_kind(objects, "PrometheusRule")[rule["metadata"]["name"]]["spec"] == rule["spec"]


def test_prometheus_reads_every_pod_under_the_name_that_rules_look_for(
    objects: list[Object],
) -> None:
    [monitor] = of_kind(objects, "PodMonitor").values()
    wanted = monitor["spec"]["selector"]["matchLabels"].items()

    assert monitor["metadata"]["name"] == "faceloom"
    assert monitor["spec"]["podTargetLabels"] == ["app.kubernetes.io/name"]
    for pod in pods(objects).values():
        assert wanted <= pod["metadata"]["labels"].items()
        ports = [port["name"] for one in pod["spec"]["containers"] for port in one.get("ports", [])]
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
