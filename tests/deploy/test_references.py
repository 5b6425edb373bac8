"""What objects name exists: images, claims, config maps, accounts, targets of autoscalers."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.deploy.rendering import (
    OVERLAYS,
    ROOT,
    containers,
    jobs,
    of_kind,
    overlay,
    pods,
)

_IMAGES = re.search(r"^IMAGES := (.*)$", (ROOT / "Makefile").read_text(), re.M)
_DOCKERFILE = (ROOT / "deploy" / "images" / "Dockerfile").read_text()


def built_images() -> set[str]:
    """What `make images` builds."""
    assert _IMAGES
    return {f"faceloom/{name}" for name in _IMAGES[1].split()}


def test_every_image_is_a_target_with_a_title() -> None:
    for image in built_images():
        assert re.search(rf"^FROM \S+ AS {image.removeprefix('faceloom/')}$", _DOCKERFILE, re.M)
        assert f'org.opencontainers.image.title="{image}"' in _DOCKERFILE


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_image_is_built_here(name: str) -> None:
    for pod in pods(overlay(name)).values():
        for container in containers(pod):
            assert container["image"].rpartition(":")[0] in built_images()


@pytest.mark.parametrize("name", OVERLAYS)
def test_workers_run_the_pipelines_image(name: str) -> None:
    [pipeline] = pods(overlay(name))["pipeline"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in pipeline["env"]}

    assert environment["FACELOOM_WORKER_IMAGE"] == pipeline["image"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_pods_name_is_there(name: str) -> None:
    objects = overlay(name)
    kinds = {
        "configMap": ("ConfigMap", "name"),
        "configMapRef": ("ConfigMap", "name"),
        "configMapKeyRef": ("ConfigMap", "name"),
        "secret": ("Secret", "secretName"),
        "secretRef": ("Secret", "name"),
        "secretKeyRef": ("Secret", "name"),
        "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    }
    named = 0
    for pod in pods(objects).values():
        for key, value in _items(pod):
            if key in kinds:
                kind, field = kinds[key]
                found = of_kind(objects, kind)[value[field]]
                assert "key" not in value or value["key"] in found["data"]
                named += 1
        account = pod["spec"].get("serviceAccountName", "default")
        assert account == "default" or account in of_kind(objects, "ServiceAccount")
    assert named


def test_jobs_use_the_claim_that_is_deployed() -> None:
    claims = {
        value["claimName"]
        for pod in pods(jobs()).values()
        for key, value in _items(pod)
        if key == "persistentVolumeClaim"
    }

    assert claims == of_kind(overlay("prod"), "PersistentVolumeClaim").keys()


@pytest.mark.parametrize("name", OVERLAYS)
def test_mounts_are_volumes(name: str) -> None:
    for pod in [*pods(overlay(name)).values(), *pods(jobs()).values()]:
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        mounts = {mount["name"] for one in containers(pod) for mount in one["volumeMounts"]}
        assert mounts == volumes


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_choose_pods(name: str) -> None:
    objects = overlay(name)
    labels = [pod["metadata"]["labels"] for pod in pods(objects).values()]
    for service in of_kind(objects, "Service").values():
        selector = service["spec"]["selector"]
        assert sum(selector.items() <= one.items() for one in labels) == 1
    for scaler in of_kind(objects, "HorizontalPodAutoscaler").values():
        assert scaler["spec"]["scaleTargetRef"]["name"] in of_kind(objects, "Deployment")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested mappings, with what it stands for."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _items(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _items(inner)
