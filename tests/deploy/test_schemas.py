"""What the API server of a current Kubernetes would accept."""

from pathlib import Path

import kubernetes_validate
import pytest
from tests.deploy.rendering import DEPLOY, Object, jobs, overlay, render_with, worker_job

CURRENT = kubernetes_validate.latest_version()
# The oldest that the package knows.
OLD = "1.25"

# Of operators that a component is for: their schemas are not Kubernetes' own.
_CUSTOM = {"PodMonitor", "PrometheusRule", "ScaledObject", "LocalQueue", "PeerAuthentication"}
_COMPONENTS = sorted(path.name for path in (DEPLOY / "components").iterdir())


def validate(objects: list[Object], version: str) -> None:
    assert objects
    for found in objects:
        if found["kind"] not in _CUSTOM:
            kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_overlays(name: str) -> None:
    validate(overlay(name), CURRENT)


def test_the_overlay_of_the_test_cluster() -> None:
    """Its only API that has gone since is that of disruption budgets."""
    objects = overlay("ci")
    old = [found for found in objects if found["apiVersion"] == "policy/v1beta1"]

    assert {found["kind"] for found in old} == {"PodDisruptionBudget"}
    validate([found for found in objects if found not in old], OLD)


def test_jobs() -> None:
    validate([*jobs(), worker_job()], CURRENT)


@pytest.mark.parametrize("component", _COMPONENTS)
def test_every_component_on_the_base(component: str, tmp_path: Path) -> None:
    validate(render_with(component, tmp_path), CURRENT)


def test_a_wrong_field_would_be_seen() -> None:
    objects = overlay("prod")
    wrong = {**objects[0], "spek": {}}

    with pytest.raises(kubernetes_validate.ValidationError, match="spek"):
        validate([wrong], CURRENT)
