"""What a fake cluster answers over HTTP: the few requests that builds make."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlparse


class ApiHandler(BaseHTTPRequestHandler):
    cluster: Any

    def do_GET(self) -> None:
        with self.cluster.lock:
            self._get(*self._asked())

    def do_POST(self) -> None:
        with self.cluster.lock:
            self._post(*self._asked())

    def do_DELETE(self) -> None:
        with self.cluster.lock:
            self._delete(*self._asked())

    def _get(self, path: list[str], query: dict[str, str]) -> None:
        cluster = self.cluster
        if path[0] == "version":
            major, minor = cluster.version
            self._answer(200, {"major": str(major), "minor": f"{minor}+"})
        elif path[-1] == "pods":
            uid = query["labelSelector"].partition("=")[2]
            ended = "phase=Failed" in query["fieldSelector"]
            found = [
                pod.to_json(job, cluster.pending or {})
                for job, pod in cluster.pods_of(uid)
                if (pod.phase == "Failed" if ended else pod.phase in ("Running", "Pending"))
            ]
            self._answer(200, {"items": found})
        elif path[-1] == "events":
            event = {"reason": "FailedCreate", "message": cluster.refusal}
            self._answer(200, {"items": [event] if cluster.refusal else []})
        elif path[-1] in cluster.jobs:
            self._answer(200, cluster.jobs[path[-1]])
        else:
            self._answer(404, {"message": f"{path[-1]} not found"})

    def _post(self, path: list[str], query: dict[str, str]) -> None:
        manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if path[-1] == "events":
            self.cluster.warnings.append(manifest)
            self._answer(201, manifest)
        elif self.cluster.forbidden:
            self._answer(403, {"message": "jobs.batch is forbidden: no such right"})
        elif manifest["metadata"]["name"] in self.cluster.jobs:
            self._answer(409, {"message": "already exists"})
        else:
            self._answer(201, self.cluster.create(manifest))

    def _delete(self, path: list[str], query: dict[str, str]) -> None:
        assert query["propagationPolicy"] == "Background"
        if path[-1] not in self.cluster.jobs:
            self._answer(404, {"message": "not found"})
        else:
            self.cluster.delete(path[-1])
            self._answer(200, {})

    def _asked(self) -> tuple[list[str], dict[str, str]]:
        url = urlparse(self.path)
        path = url.path.strip("/").split("/")
        self.cluster.requests[f"{self.command} {path[-1]}"] += 1
        return path, {key: values[0] for key, values in parse_qs(url.query).items()}

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        pass
