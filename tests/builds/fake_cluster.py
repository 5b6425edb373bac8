"""An API server for Jobs, on loopback. Its pods are processes of this machine, its Job controller a thread.

It knows what Kubernetes of that version knows: an old one drops the fields of per-index retries and creates
pods again until backoffLimit; a new one follows podFailurePolicy and backoffLimitPerIndex.
"""

import json
import threading
import time
import uuid
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.builds.fake_api_server import ApiHandler
from tests.builds.workers import Worker, end, start_worker

from faceloom.datasets.place import output_of

Object = dict[str, Any]
_NEW_FIELDS = ("backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy", "suspend")
_TICK_SECONDS = 0.02


@dataclass
class Pod:
    """A try of an index."""

    index: int
    process: Worker | None
    created: float = field(default_factory=time.time)
    exit_code: int | None = None
    said: str = ""

    @property
    def phase(self) -> str:
        if self.process is None:
            return "Pending"
        return {None: "Running", 0: "Succeeded"}.get(self.exit_code, "Failed")

    def to_json(self, job: Object, pending: Object) -> Object:
        state: Object = {}
        if self.exit_code is not None:
            state = {"terminated": {"exitCode": self.exit_code, "message": self.said}}
        worker = {"name": "worker", "state": state}
        return {
            "metadata": {
                "annotations": {"batch.kubernetes.io/job-completion-index": str(self.index)},
                "creationTimestamp": str(self.created),
            },
            "spec": job["spec"]["template"]["spec"],
            "status": {"phase": self.phase, "containerStatuses": [worker]}
            | (pending if self.process is None else {}),
        }


class FakeCluster(AbstractContextManager["FakeCluster"]):
    """As long as the block.

    Args:
        version: Of Kubernetes.
        pending: The status of pods, none of which is ever started.
        refusal: No pod is created, for this reason.
        forbidden: What is asked of Jobs is not allowed.
        environment: Of all pods.
    """

    def __init__(
        self,
        version: tuple[int, int] = (1, 33),
        pending: Object | None = None,
        refusal: str = "",
        forbidden: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.version = version
        self.pending = pending
        self.refusal = refusal
        self.forbidden = forbidden
        self.environment = environment or {}
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, list[Pod]] = {}
        self.warnings: list[Object] = []
        self.requests: Counter[str] = Counter()
        self.lock = threading.RLock()
        self._ended = threading.Event()
        handler = type("Handler", (ApiHandler,), {"cluster": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}),
            threading.Thread(target=self._control),
        ]

    def __enter__(self) -> "FakeCluster":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for name in list(self.jobs):
            self.delete(name)

    def write_kubeconfig(self, path: Path) -> Path:
        url = f"http://127.0.0.1:{self._server.server_port}"
        context = {"name": "it", "context": {"cluster": "it", "user": "it"}}
        config = {
            "clusters": [{"name": "it", "cluster": {"server": url}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [context],
            "current-context": "it",
        }
        path.write_text(json.dumps(config))
        return path

    def create(self, manifest: Object) -> Object:
        spec = manifest["spec"]
        if self.version < (1, 29):
            spec = {key: value for key, value in spec.items() if key not in _NEW_FIELDS}
        job = {**manifest, "spec": spec, "status": {}}
        job["metadata"] = {**manifest["metadata"], "uid": uuid.uuid4().hex}
        self.jobs[job["metadata"]["name"]] = job
        self.pods[job["metadata"]["name"]] = []
        return job

    def delete(self, name: str) -> None:
        del self.jobs[name]
        for pod in self.pods.pop(name):
            if pod.process is not None and pod.exit_code is None:
                pod.process.terminate()
                pod.process.communicate()

    def pods_of(self, uid: str) -> list[tuple[Object, Pod]]:
        return [
            (job, pod)
            for name, job in self.jobs.items()
            if job["metadata"]["uid"] == uid
            for pod in self.pods[name]
        ]

    def running(self) -> list[Pod]:
        with self.lock:
            return [pod for pods in self.pods.values() for pod in pods if pod.phase == "Running"]

    def _control(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            with self.lock:
                for name, job in self.jobs.items():
                    if not job["status"].get("conditions") and not job["spec"].get("suspend"):
                        self._sync(job, self.pods[name])

    def _sync(self, job: Object, pods: list[Pod]) -> None:
        spec = job["spec"]
        for pod in pods:
            if pod.process is not None and pod.exit_code is None and pod.process.poll() is not None:
                pod.exit_code, pod.said = end(pod.process)
        failed = [pod for pod in pods if pod.phase == "Failed"]
        done = {pod.index for pod in pods if pod.phase == "Succeeded"}
        active = {pod.index for pod in pods if pod.phase in ("Running", "Pending")}
        job["status"] = {"active": len(active), "failed": len(failed), "succeeded": len(done)}
        given_up = self._given_up(spec, failed)
        if len(done) == spec["completions"]:
            self._end(job, "Complete", "")
        elif given_up == "FailJob" or len(failed) > spec.get("backoffLimit", 10**6):
            self._end(job, "Failed", "PodFailurePolicy" if given_up else "BackoffLimitExceeded")
        elif (
            isinstance(given_up, set) and not active and len(done | given_up) == spec["completions"]
        ):
            self._end(job, "Failed", "FailedIndexes")
        elif not self.refusal:
            out = done | active | (given_up if isinstance(given_up, set) else set())
            missing = [index for index in range(spec["completions"]) if index not in out]
            for index in missing[: spec["parallelism"] - len(active)]:
                pods.append(Pod(index, None if self.pending else self._start(spec, index)))

    def _given_up(self, spec: Object, failed: list[Pod]) -> str | set[int]:
        """FailJob, or the indexes that get no further try."""
        if "podFailurePolicy" not in spec:
            return ""
        tries: Counter[int] = Counter()
        indexes = set()
        for pod in failed:
            action = next(
                (
                    rule["action"]
                    for rule in spec["podFailurePolicy"]["rules"]
                    if pod.exit_code in rule.get("onExitCodes", {}).get("values", ())
                ),
                "Count",
            )
            if action == "FailJob":
                return action
            tries[pod.index] += action == "Count"
            if action == "FailIndex" or tries[pod.index] > spec["backoffLimitPerIndex"]:
                indexes.add(pod.index)
        return indexes

    def _end(self, job: Object, kind: str, reason: str) -> None:
        job["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason}]

    def _start(self, spec: Object, index: int) -> Worker:
        container = spec["template"]["spec"]["containers"][0]
        command = container["command"]
        assert command[:3] == ["faceloom", "jobs", "work"]
        output = command[command.index("--output") + 1]
        return start_worker(output_of(output), index, *command[5:], **self.environment)
