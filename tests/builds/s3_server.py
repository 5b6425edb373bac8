"""An S3 server on loopback, moto's, as a process with packages of its own; prints its port.

Around it: one request at a time, as if the store were one machine, so that conditional puts are atomic; a
count of requests at GET /-/requests, which starts again; and faults at PUT /-/fault, a JSON object with
`method`, `status`, `code` and `times`: so many requests of that method get that answer. With `lost` every
second of them does, and what it asked for is done all the same.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Respond = Callable[[str, list[tuple[str, str]]], Any]


class Quiet(WSGIRequestHandler):
    # Clients keep connections.
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


class Store:
    """The WSGI application."""

    def __init__(self) -> None:
        self._s3 = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._fault: dict[str, Any] = {"times": 0}

    def __call__(self, request: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        with self._lock:
            path = request["PATH_INFO"]
            if path == "/-/requests":
                counted, self._requests = self._requests, Counter()
                return self._answer(respond, "200 OK", json.dumps(counted))
            if path == "/-/fault":
                length = int(request["CONTENT_LENGTH"])
                self._fault = json.loads(request["wsgi.input"].read(length))
                return self._answer(respond, "200 OK", "{}")
            method = request["REQUEST_METHOD"]
            self._requests[method] += 1
            if self._fault["times"] > 0 and method in self._fault["method"]:
                self._fault["times"] -= 1
                if self._fault["lost"]:
                    answer = list(self._s3(request, respond if self._fault["times"] % 2 else _deaf))
                    if self._fault["times"] % 2:
                        return answer
                code = self._fault["code"]
                # A body that nobody reads would be taken for the next request.
                if not self._fault["lost"]:
                    request["wsgi.input"].read(int(request.get("CONTENT_LENGTH") or 0))
                text = f"<Error><Code>{code}</Code><Message>not now</Message></Error>"
                return self._answer(respond, f"{self._fault['status']} Fault", text)
            return list(self._s3(request, respond))

    def _answer(self, respond: Respond, status: str, text: str) -> list[bytes]:
        body = text.encode()
        respond(status, [("Content-Length", str(len(body)))])
        return [body]


def _deaf(status: str, headers: list[tuple[str, str]]) -> None:
    pass


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, Store(), threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()
