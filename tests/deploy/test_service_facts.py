"""`service.toml` files are the source of what manifests say about services."""

import subprocess
import sys
import tomllib

import pytest
from tests.deploy.rendering import DEPLOY, OVERLAYS, ROOT, of_kind, overlay, pods

from faceloom.builds.service.server import SERVICE
from faceloom.runtime.service import services
from faceloom.runtime.targets import Targets


def test_rendered_files_are_what_would_be_rendered_now() -> None:
    command = [sys.executable, DEPLOY / "manifests.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_service_is_deployed_once(name: str) -> None:
    objects = overlay(name)
    wanted = {*services(), "pipeline"}

    assert of_kind(objects, "Deployment").keys() == wanted | {"studio"}
    headless = {f"{one}-pods" for one in wanted}
    assert of_kind(objects, "Service").keys() == wanted | headless | {"studio"}
    assert of_kind(objects, "HorizontalPodAutoscaler").keys() == set(services())


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_of_a_service_are_one_front_and_one_engine(name: str) -> None:
    for service in services():
        front, engine = pods(overlay(name))[service]["spec"]["containers"]
        assert front["args"][:2] == ["serve", service]
        assert engine["args"][:2] == ["serve-engine", service]
        assert "ports" not in engine


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_have_time_to_answer_the_longest_call(name: str) -> None:
    for service in services().values():
        pod = pods(overlay(name))[service.name]["spec"]
        front, engine = pod["containers"]
        sleep = int(front["lifecycle"]["preStop"]["exec"]["command"][1])
        waits = float(engine["lifecycle"]["preStop"]["exec"]["command"][-1])
        assert waits >= sleep + service.max_seconds
        assert pod["terminationGracePeriodSeconds"] > waits


@pytest.mark.parametrize("name", ["prod", "ci"])
def test_every_service_has_a_disruption_budget(name: str) -> None:
    objects = overlay(name)
    budgets = of_kind(objects, "PodDisruptionBudget")

    assert budgets.keys() == set(services())
    for service, budget in budgets.items():
        deployment = of_kind(objects, "Deployment")[service]
        assert budget["spec"]["selector"] == deployment["spec"]["selector"]
        assert budget["spec"]["maxUnavailable"] == 1


def test_clients_in_the_cluster_find_every_service(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = overlay("prod")
    monkeypatch.setenv(
        "FACELOOM_TARGETS", of_kind(objects, "ConfigMap")["targets"]["data"]["FACELOOM_TARGETS"]
    )
    for name in (*services(), "pipeline"):
        host, _, port = Targets().of(name).removeprefix("dns:///").partition(":")
        service = of_kind(objects, "Service")[host]["spec"]
        container = pods(objects)[name]["spec"]["containers"][0]
        listens = {found["name"]: found["containerPort"] for found in container["ports"]}
        # A headless service is not translated: clients dial the container's own port.
        assert service["clusterIP"] == "None"
        assert listens["grpc"] == int(port) == service["ports"][0]["port"]
        assert f"0.0.0.0:{port}" in container["args"]


def test_versions_are_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for found in overlay("prod"):
        assert found["metadata"]["labels"]["app.kubernetes.io/version"] == version
    for pod in pods(overlay("prod")).values():
        for container in pod["spec"]["containers"]:
            assert container["image"].endswith(f":{version}")


def test_the_pipeline_services_name_is_probed() -> None:
    probe = pods(overlay("prod"))["pipeline"]["spec"]["containers"][0]["readinessProbe"]

    assert probe["grpc"]["service"] == SERVICE.full_name
