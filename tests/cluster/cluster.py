"""A small real cluster with Faceloom deployed in it, as an operator sees it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.rendering import ROOT, Object, of_kind, overlay

# The scripts that start it; CI has a copy beside the checkout.
TOOLS = Path(os.environ.get("FACELOOM_CLUSTER") or ROOT.parent / "shared" / "cluster")
NAMESPACE = "faceloom"
USER = 10001
# What pods see as /data/small, for a volume that fills up.
SMALL = "small"
_SMALL_BYTES = 16 * 2**20

Done = subprocess.CompletedProcess[str]


def within(seconds: float, what: str, found: Callable[[], Any]) -> Any:
    """What `found` answers, as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return answer


class Cluster:
    """A cluster of its own, in a folder of its own.

    Args:
        folder: For everything that it writes; its path must be short, because Unix sockets' are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        name = f"faceloom-{os.getpid()}"
        self._state = folder / name
        # A make that runs these tests must not pass its own options on.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        self._environment = kept | {"TMPDIR": str(folder), "KCLUSTER_NAME": name}
        self._kubectl: list[str | Path] = [self._state / "kc"]
        self._volume = folder / "data"

    @property
    def data(self) -> Path:
        """The volume that pods see as /data."""
        return self._volume

    @property
    def small(self) -> Path:
        """A volume of 16 MiB in it."""
        return self._volume / SMALL

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as the block; of what was started nothing is left."""
        with ExitStack() as leaving:
            self.small.mkdir(parents=True)
            # First of all: the cluster's mounts are a copy of those that it finds.
            size = f"size={_SMALL_BYTES}"
            self._run_or_skip("mount", "-t", "tmpfs", "-o", size, SMALL, self.small)
            leaving.callback(self._run, "umount", self.small)
            for folder in (self.data, self.small):
                os.chown(folder, USER, USER)
            leaving.callback(self._run, TOOLS / "down", "--wipe")
            self._run_or_skip(TOOLS / "up", times=2)
            yield

    def build_images(self) -> None:
        """`make images`, with the cluster's builder."""
        self._run("make", "-j2", "images", f"BUILDER={TOOLS / 'image'} build", cwd=ROOT)

    def deploy(self, **environment: str) -> None:
        """Every service, until all are ready.

        Args:
            environment: Of the pipeline service.
        """
        objects = self._objects()
        pipeline = of_kind(objects, "Deployment")["pipeline"]
        container = pipeline["spec"]["template"]["spec"]["containers"][0]
        container["env"] += [{"name": key, "value": text} for key, text in environment.items()]
        self.apply(*objects)
        self.kubectl("wait", "--for=condition=Available", "deployment", "--all", "--timeout=600s")

    def _objects(self) -> list[Object]:
        """The ci overlay, with the volume in this cluster's folder."""
        objects = overlay("ci")
        volume = of_kind(objects, "PersistentVolume")["faceloom-data"]
        volume["spec"]["hostPath"]["path"] = str(self.data)
        return objects

    def apply(self, *objects: Object) -> None:
        """Creates or changes objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "-f", "-", given=text)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl prints, in Faceloom's namespace."""
        done = self.try_kubectl(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def try_kubectl(self, *arguments: str, given: str | None = None) -> Done:
        """The same, however it ends."""
        return subprocess.run(
            [*self._kubectl, "--namespace", NAMESPACE, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
        )

    def objects(self, kind: str, selector: str = "") -> list[Object]:
        """The objects of a kind, the oldest first."""
        chosen = ["--selector", selector] if selector else []
        listed = json.loads(self.kubectl("get", kind, *chosen, "--output=json"))["items"]
        return sorted(listed, key=lambda found: str(found["metadata"]["creationTimestamp"]))

    def pods(self, app: str, *phases: str) -> list[str]:
        """The names of an application's pods in these phases that nobody told to end, the oldest first."""
        found = self.objects("pods", f"app.kubernetes.io/name={app}")
        return [
            pod["metadata"]["name"]
            for pod in found
            if pod["status"]["phase"] in (phases or ("Pending", "Running"))
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def logs_when_ended(self, pod: str) -> str:
        """What a pod has said, when it has nothing more to say."""

        def over() -> bool:
            phase = self.kubectl("get", "pod", pod, "--output=jsonpath={.status.phase}")
            return phase in ("Succeeded", "Failed")

        within(120, f"the pod {pod} does not end", over)
        return self.kubectl("logs", pod)

    def faceloom(self, *arguments: str) -> Done:
        """The command line, in the pipeline service's pod."""
        return self.try_kubectl("exec", "deploy/pipeline", "--", "faceloom", *arguments)

    def set_pipeline(self, setting: str) -> None:
        """Changes the environment of the pipeline service, `NAME=VALUE`, which restarts it."""
        self.kubectl("set", "env", "deployment/pipeline", setting)
        self.kubectl("rollout", "status", "deployment/pipeline", "--timeout=120s")

    def shown(self) -> str:
        """What runs, what happened, and what the pipeline service said."""
        looks = (
            ("get", "pods,jobs", "--output=wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", "deploy/pipeline", "--tail=100"),
            ("logs", "deploy/pipeline", "--tail=100", "--previous"),
        )
        return "\n".join(f"$ kubectl {' '.join(look)}\n{self._look(*look)}" for look in looks)

    def start_inside(self, module: str, *arguments: str) -> "subprocess.Popen[str]":
        """A Python module of this machine in the cluster's network, with the cluster's names."""
        return subprocess.Popen(
            [self._state / "kin", sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _look(self, *arguments: str) -> str:
        done = self.try_kubectl(*arguments)
        return done.stdout[-20_000:] + done.stderr

    def _run(self, *command: str | Path, cwd: Path | None = None) -> None:
        done = self._done(*command, cwd=cwd)
        assert done.returncode == 0, f"{command}: ...{done.stdout[-4000:]}"

    def _run_or_skip(self, *command: str | Path, times: int = 1) -> None:
        """What has nothing to do with Faceloom; containers do not let everybody start a cluster."""
        for _ in range(times):
            done = self._done(*command)
            if done.returncode == 0:
                return
        pytest.skip(f"the test cluster does not start here: {command}: {done.stdout[-400:]}")

    def _done(self, *command: str | Path, cwd: Path | None = None) -> Done:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=cwd,
            env=self._environment,
        )
