"""What the tests of a named cluster do before they touch it; tests/cluster does the rest on a real one."""

import stat
from pathlib import Path

import pytest
from tests.cluster.named import NamedCluster
from tests.deploy.rendering import containers, of_kind, pods

_KUBECTL = """#!/bin/sh
echo "$@" >> {calls}
case "$*" in
  *version*) echo '{{"serverVersion": {{"major": "1", "minor": "31+"}}}}' ;;
  *" get namespace {there} "*) echo "{there} Active 1d" ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a kubectl of a current cluster was asked, which has a namespace `faceloom-clients`."""
    program, calls = tmp_path / "bin" / "kubectl", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(_KUBECTL.format(calls=calls, there="faceloom-clients"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return calls


def test_images_come_from_the_registry_for_workers_too(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELOOM_TEST_REGISTRY", "registry.test/team/")
    objects = NamedCluster("real")._objects()

    assert not of_kind(objects, "PersistentVolume")
    for pod in pods(objects).values():
        for container in containers(pod):
            assert container["image"].startswith("registry.test/team/faceloom/")
    [pipeline] = pods(objects)["pipeline"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in pipeline["env"]}
    assert environment["FACELOOM_WORKER_IMAGE"] == pipeline["image"]


def test_namespaces_of_somebody_else_are_not_touched(calls: Path) -> None:
    cluster = NamedCluster("real")
    with pytest.raises(AssertionError, match="namespace faceloom-clients"), cluster.running():
        cluster.deploy()

    assert "--context real" in calls.read_text()
    assert "apply" not in calls.read_text() and "delete" not in calls.read_text()
