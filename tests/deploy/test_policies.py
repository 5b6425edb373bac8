"""What holds for every pod that is deployed, whichever overlay it comes from."""

import re
from typing import Any

import pytest
from tests.deploy.rendering import (
    OVERLAYS,
    Object,
    containers,
    jobs,
    of_kind,
    overlay,
    pods,
    worker_job,
)

from faceloom.runtime.service import services


@pytest.fixture(params=[*OVERLAYS, "jobs"])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """An overlay's objects, or the Jobs: those applied by hand and the pipeline service's."""
    return [*jobs(), worker_job()] if request.param == "jobs" else overlay(request.param)


def test_pods_are_restricted(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] >= 10000, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys(), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_containers_say_what_they_need_and_what_they_may_take(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory", "ephemeral-storage"} <= resources["requests"].keys(), name
            assert {"memory", "ephemeral-storage"} <= resources["limits"].keys(), name


def test_images_are_pinned_and_never_the_latest(objects: list[Object]) -> None:
    for pod in pods(objects).values():
        for container in containers(pod):
            assert re.search(r":(?!latest$)[\w.-]+$|@sha256:[0-9a-f]{64}$", container["image"])
            assert container.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent"


def test_no_pod_mounts_the_host(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        for volume in pod["spec"].get("volumes", []):
            assert "hostPath" not in volume, name


def test_only_the_pipeline_service_has_a_token(objects: list[Object]) -> None:
    with_token = {
        name for name, pod in pods(objects).items() if pod["spec"]["automountServiceAccountToken"]
    }

    assert with_token <= {"pipeline"}


def test_pods_are_labelled(objects: list[Object]) -> None:
    for pod in pods(objects).values():
        labels = pod["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"]
        assert labels["app.kubernetes.io/part-of"] == "faceloom"
        assert "app.kubernetes.io/component" in labels


@pytest.mark.parametrize("name", OVERLAYS)
def test_objects_are_labelled(name: str) -> None:
    for found in overlay(name):
        labels = {key.rpartition("/")[2] for key in found["metadata"]["labels"]}
        assert {"instance", "version", "part-of", "managed-by"} <= labels, found
        if found["kind"] not in ("Namespace", "ConfigMap"):
            assert {"name", "component"} <= labels, found


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_the_test_cluster_uses_a_folder_of_its_node(name: str) -> None:
    volumes = of_kind(overlay(name), "PersistentVolume").values()

    assert any("hostPath" in volume["spec"] for volume in volumes) == (name == "ci")


def test_the_pipeline_service_may_do_this_and_nothing_else() -> None:
    objects = overlay("prod")
    roles = of_kind(objects, "Role")

    assert not of_kind(objects, "ClusterRole") and not of_kind(objects, "ClusterRoleBinding")
    assert list(roles) == list(of_kind(objects, "RoleBinding")) == ["pipeline"]
    allowed = {
        (group, resource, verb)
        for rule in roles["pipeline"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    jobs_verbs = ["create", "get", "list", "watch", "delete"]
    read = {
        ("", resource, verb)
        for resource in ("pods", "pods/log", "events")
        for verb in ("get", "list", "watch")
    }
    assert allowed == {("batch", "jobs", verb) for verb in jobs_verbs} | read | {
        ("", "events", "create")
    }


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_servers_are_probed_by_their_grpc_health(name: str) -> None:
    for workload, pod in _grpc_servers(name).items():
        full_name = _full_name(workload)
        server, *engine = pod["spec"]["containers"]
        assert server["livenessProbe"]["grpc"] == {"port": 50051}
        assert server["startupProbe"]["grpc"] == {"port": 50051}
        assert server["readinessProbe"]["grpc"] == {"port": 50051, "service": full_name}
        for container in engine:
            for probe in ("startupProbe", "livenessProbe"):
                assert container[probe]["grpc"] == {"port": 50051, "service": full_name}


def test_the_test_cluster_asks_the_same_of_services_by_commands() -> None:
    """And of mere processes whether they listen."""
    prod, ci = _grpc_servers("prod"), _grpc_servers("ci")
    for workload, pod in prod.items():
        for container, other in zip(
            pod["spec"]["containers"], ci[workload]["spec"]["containers"], strict=True
        ):
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert (kind in container) == (kind in other)
                if kind in container:
                    asked = container[kind]["grpc"].get("service")
                    command = ["faceloom", "health", "127.0.0.1:50051", asked]
                    how = (
                        {"exec": {"command": command}} if asked else {"tcpSocket": {"port": "grpc"}}
                    )
                    assert how.items() <= other[kind].items()
                    assert not {"grpc", "exec", "tcpSocket"} - how.keys() & other[kind].keys()


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_studio_is_probed_by_its_pages_port(name: str) -> None:
    [container] = pods(overlay(name))["studio"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert container["args"][container["args"].index("--port") + 1] == str(ports["http"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def _grpc_servers(name: str) -> dict[str, Object]:
    found = pods(overlay(name))
    del found["studio"]
    return found


def _full_name(workload: str) -> Any:
    if workload == "pipeline":
        return "faceloom.pipeline.v1.PipelineService"
    return services()[workload].service


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_is_in_one_namespace(name: str) -> None:
    """A policy elsewhere protects nothing here, and denies there what is none of its business."""
    nowhere = {"Namespace", "PriorityClass", "PersistentVolume"}
    found = {
        (one["kind"], one["metadata"]["name"]): one["metadata"].get("namespace")
        for one in overlay(name)
        if one["kind"] not in nowhere
    }

    assert found
    assert set(found.values()) == {"faceloom"}, found
