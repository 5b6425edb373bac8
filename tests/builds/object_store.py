"""An object store for tests: moto's S3 server on loopback, in a process with packages of its own.

boto3, which moto needs, and the client of Kubernetes want different versions of dateutil, so the server's
packages lie in out/tools. Where pip cannot bring them, tests that need a store are skipped.
"""

import fcntl
import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faceloom.datasets.objects import Objects
from faceloom.datasets.place import ObjectUrl

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("moto[s3]==5.2.5", "flask-cors==6.0.5")
BUCKET = "faces"


class ObjectStore:
    """A running store, with one bucket.

    Args:
        port: Of the server.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }
        self._names = 0
        self._ask(f"/{BUCKET}", method="PUT")

    def new_place(self) -> ObjectUrl:
        """A prefix that nobody used."""
        self._names += 1
        return ObjectUrl(BUCKET, f"builds/{self._names}")

    def requests(self) -> Counter[str]:
        """How often each method was asked for since this was called."""
        return Counter(json.loads(self._ask("/-/requests")))

    def fail(
        self, method: str, status: int, code: str, times: int = 1_000_000, lost: bool = False
    ) -> None:
        """So many requests of these methods are answered with an error; see `s3_server`."""
        fault = {"method": method, "status": status, "code": code, "times": times, "lost": lost}
        self._ask("/-/fault", json.dumps(fault).encode(), "PUT")

    def mend(self) -> None:
        """No request fails any more."""
        self.fail("", 0, "", times=0)

    def _ask(self, path: str, data: bytes | None = None, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.endpoint + path, data, method=method)
        with urllib.request.urlopen(request) as answer:
            body: bytes = answer.read()
        return body


def objects_of(place: ObjectUrl) -> dict[str, bytes]:
    """Everything below a place."""
    objects = Objects(place)
    return {path: objects.read(path) for path in objects.list()}


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A store that runs as long as the block."""
    command = [str(_python()), str(Path(__file__).with_name("s3_server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield ObjectStore(int(server.stdout.readline()))
        finally:
            server.kill()


def _python() -> Path:
    """The Python of an environment that has moto."""
    kept = _ROOT / "out" / "tools" / "moto-5.2.5"
    python = kept / "bin" / "python"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept.parent / "moto.lock").open("w") as lock:
        # Tests run in several processes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "complete").exists():
            _run(sys.executable, "-m", "venv", "--clear", str(kept))
            _run(str(python), "-m", "pip", "install", "--quiet", *_PACKAGES)
            (kept / "complete").touch()
    return python


def _run(*command: str) -> None:
    environment: dict[str, Any] = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        pytest.skip(f"pip does not bring moto here: {done.stderr.strip()[-200:]}")
