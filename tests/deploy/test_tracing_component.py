"""With the component `tracing`, everything that can record spans is told where they go."""

from pathlib import Path

import pytest
from tests.deploy.rendering import of_kind, pods, render_with

from faceloom.runtime.service import services


def test_every_process_that_records_is_told_where_to(tmp_path: Path) -> None:
    objects = render_with("tracing", tmp_path)
    assert "tracing" in of_kind(objects, "ConfigMap")

    recording = {
        (workload, container["name"])
        for workload, pod in pods(objects).items()
        for container in pod["spec"]["containers"]
        if {"configMapRef": {"name": "tracing"}} in container.get("envFrom", [])
    }

    fronts_and_engines = {(name, part) for name in services() for part in ("front", "engine")}
    assert recording == fronts_and_engines | {("pipeline", "pipeline"), ("studio", "studio")}


@pytest.mark.parametrize("name", ["pipeline", "studio"])
def test_clients_still_know_the_services(name: str, tmp_path: Path) -> None:
    [container] = pods(render_with("tracing", tmp_path))[name]["spec"]["containers"]

    names = [source["configMapRef"]["name"] for source in container["envFrom"]]
    assert names == ["targets", "tracing"]


def test_the_policy_lets_them_reach_the_collector(tmp_path: Path) -> None:
    (tmp_path / "tracing").mkdir()
    (tmp_path / "egress").mkdir()
    traced = render_with("tracing", tmp_path / "tracing")
    address = of_kind(traced, "ConfigMap")["tracing"]["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    policies = of_kind(render_with("tracing-egress", tmp_path / "egress"), "NetworkPolicy")
    [rule] = policies["tracing"]["spec"]["egress"]

    assert address.endswith(f":{rule['ports'][0]['port']}")
    [namespace] = [peer["namespaceSelector"]["matchLabels"] for peer in rule["to"]]
    assert f".{namespace['kubernetes.io/metadata.name']}.svc" in address
