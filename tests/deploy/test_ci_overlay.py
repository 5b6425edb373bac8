"""What is tested is what is deployed: where the test cluster's overlay differs from production's."""

from collections.abc import Iterator
from typing import Any

from tests.deploy.rendering import Object, overlay

# Kind, and the path to what may differ; the table in deploy/README.md says why.
ALLOWED = {
    ("Deployment", "startupProbe"),
    ("Deployment", "readinessProbe"),
    ("Deployment", "livenessProbe"),
    ("Deployment", "requests"),
    ("HorizontalPodAutoscaler", "minReplicas"),
    ("PodDisruptionBudget", "apiVersion"),
    ("PersistentVolumeClaim", "storageClassName"),
    ("PersistentVolumeClaim", "volumeName"),
}


def test_only_what_is_listed() -> None:
    prod, ci = by_id("prod"), by_id("ci")

    assert ci.keys() - prod.keys() == {("PersistentVolume", "faceloom-data")}
    assert prod.keys() <= ci.keys()
    found = {
        (kind, key)
        for (kind, name), other in prod.items()
        for key in differences(other, ci[kind, name])
    }
    assert found == ALLOWED


def by_id(name: str) -> dict[tuple[str, str], Object]:
    return {(one["kind"], one["metadata"]["name"]): one for one in overlay(name)}


def differences(left: Any, right: Any, place: str = "") -> Iterator[str]:
    """The names of the differing fields that are probes, requests, or not further divided."""
    if place.endswith("Probe") or place == "requests" or type(left) is not type(right):
        if left != right:
            yield place
    elif isinstance(left, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from differences(left.get(key), right.get(key), key)
    elif isinstance(left, list) and len(left) == len(right):
        for one, other in zip(left, right, strict=True):
            yield from differences(one, other, place)
    elif left != right:
        yield place
