"""A cluster that is there already, kind, k3d or a real one: KUBECONFIG and FACELOOM_TEST_CLUSTER name it.

Everything is made in namespaces of its own and deleted afterwards; docs/deploy.md says how images get there.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest
from tests.cluster.cluster import NAMESPACE, USER, Cluster
from tests.deploy.rendering import ROOT, Object, containers, of_kind, overlay, pods
from tests.deploy.test_references import built_images

from faceloom import __version__

# Of what asks the services, in a namespace that network policies let in.
CLIENTS = "faceloom-clients"
_CLIENT = ("--namespace", CLIENTS, "exec", "--stdin", "client", "--")
# What runs in that pod.
_MODULES = ("__init__.py", "samples.py", "cluster/pipeline_bridge.py", "cluster/steady_client.py")
# Older ones know no gRPC probe; the test cluster's overlay does without.
_GRPC_PROBES = 27


class NamedCluster(Cluster):
    """Reached by kubectl alone.

    Args:
        context: Of the kubeconfig; `kind-NAME` and `k3d-NAME` get their images from this machine.
    """

    def __init__(self, context: str) -> None:
        self._context = context
        self._registry = os.environ.get("FACELOOM_TEST_REGISTRY", "").rstrip("/")
        self._volume = os.environ.get("FACELOOM_TEST_VOLUME", "")
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith("MAKE")
        }
        self._kubectl = ["kubectl", "--context", context]
        self._made: list[Object] = []

    @property
    def data(self) -> Path:
        """The volume that pods see as /data, where it is a folder of this machine."""
        if not self._volume or not os.access(self._volume, os.W_OK):
            pytest.skip("this test looks into the volume: FACELOOM_TEST_VOLUME names it")
        return Path(self._volume)

    @property
    def small(self) -> Path:
        """Nobody can make a volume of a few MiB for a node that may be elsewhere."""
        pytest.skip("only the cluster that these tests start has a volume that fills up")

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as the block; what was made there is deleted."""
        for namespace in (NAMESPACE, CLIENTS):
            found = self.try_kubectl("get", "namespace", namespace, "--ignore-not-found")
            assert found.returncode == 0, f"{self._context} does not answer: {found.stderr}"
            assert not found.stdout, (
                f"{self._context} has a namespace {namespace}: not ours to change"
            )
        try:
            yield
        finally:
            if self._made:
                text = json.dumps({"apiVersion": "v1", "kind": "List", "items": self._made})
                self.kubectl("delete", "--ignore-not-found", "-f", "-", given=text)

    def build_images(self) -> None:
        """`make images`, brought to where nodes find them; without a way there, they are there already."""
        kind, _, name = self._context.partition("-")
        images = [f"{image}:{__version__}" for image in sorted(built_images())]
        loads = {
            "kind": ["kind", "load", "docker-image", "--name", name, *images],
            "k3d": ["k3d", "image", "import", "--cluster", name, *images],
        }
        if not self._registry and kind not in loads:
            return
        self._run("make", "-j2", "images", cwd=ROOT)
        if not self._registry:
            self._run(*loads[kind])
            return
        tool = shutil.which("docker") or shutil.which("podman") or "docker"
        for image in images:
            self._run(tool, "tag", image, f"{self._registry}/{image}")
            self._run(tool, "push", f"{self._registry}/{image}")

    def deploy(self, **environment: str) -> None:
        """The dev overlay, or what older clusters understand, and a pod that asks the services."""
        super().deploy(**environment)
        self._make_client()

    def apply(self, *objects: Object) -> None:
        """Creates or changes objects; those without a namespace of ours are deleted at the end."""
        own = {"Namespace", "PersistentVolume", "PriorityClass"}
        self._made += [found for found in objects if found["kind"] in own]
        super().apply(*objects)

    def start_inside(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        """A module of these tests in the client's pod."""
        python = ("env", "PYTHONPATH=/tmp", "python", "-m", module, *arguments)
        return subprocess.Popen(
            [*self._kubectl, *_CLIENT, *python],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sys.stderr,
            text=True,
        )

    def _objects(self) -> list[Object]:
        version = json.loads(self.kubectl("version", "--output=json"))["serverVersion"]
        name = "dev" if int(version["minor"].rstrip("+")) >= _GRPC_PROBES else "ci"
        # Others see what was rendered, too.
        objects = deepcopy(overlay(name))
        volumes = of_kind(objects, "PersistentVolume")
        if volumes:
            os.chown(self.data, USER, USER)
            volumes["faceloom-data"]["spec"]["hostPath"]["path"] = str(self.data)
        for pod in pods(objects).values() if self._registry else ():
            for container in containers(pod):
                container["image"] = f"{self._registry}/{container['image']}"
                for variable in container.get("env", ()):
                    if variable["name"] == "FACELOOM_WORKER_IMAGE":
                        variable["value"] = f"{self._registry}/{variable['value']}"
        return objects

    def _make_client(self) -> None:
        [pipeline] = self.objects("deployments", "app.kubernetes.io/name=pipeline")
        [served] = pipeline["spec"]["template"]["spec"]["containers"]
        container = {"name": "client", "image": served["image"], "command": ["sleep", "infinity"]}
        labels = {"faceloom/clients": "true"}
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": CLIENTS, "labels": labels},
            }
        )
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client"},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
        there = ("--namespace", CLIENTS)
        self.kubectl(*there, "apply", "-f", "-", given=json.dumps(pod))
        self.kubectl(*there, "wait", "--for=condition=Ready", "pod", "client", "--timeout=120s")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in _MODULES:
                tar.add(ROOT / "tests" / name, f"tests/{name}")
        done = subprocess.run(
            [*self._kubectl, *_CLIENT, "tar", "-xf", "-", "-C", "/tmp"],
            input=archive.getvalue(),
            env=self._environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
