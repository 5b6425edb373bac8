"""A real Prometheus that reads a local stack as the operator's would read the pods, only more often."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contract.fronts import free_port
from tests.monitoring.rules import NAMES, write_rules

SCRAPE_SECONDS = 2
_START_SECONDS = 60
# A scrape is some seconds late on a machine that has much else to do.
_SEEN_SECONDS = 30


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that answers."""

    url: str

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """What an expression gives now."""
        return self._ask("query", query=expr)

    def wait_for(self, expr: str) -> list[dict[str, Any]]:
        """What an expression gives as soon as what was last read makes it give something."""
        deadline = time.monotonic() + _SEEN_SECONDS
        while not (answers := self.ask(expr)) and time.monotonic() < deadline:
            time.sleep(SCRAPE_SECONDS / 4)
        return answers

    def ask_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """What an expression gave from then to then, every so many seconds."""
        return self._ask("query_range", query=expr, start=start, end=end, step=step)

    def since(self, series: str, start: float) -> list[tuple[float, float]]:
        """The samples of one series that were read after that time, in order."""
        [found] = self.ask(f"{series}[{int(time.time() - start) + 1}s]")
        samples = [(float(at), float(value)) for at, value in found["values"]]
        return [(at, value) for at, value in samples if at > start]

    def _ask(self, how: str, **question: str | float) -> list[dict[str, Any]]:
        data = urllib.parse.urlencode(question).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{how}", data, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result


@contextmanager
def running(folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """A Prometheus that reads these addresses, by service, and evaluates the rules."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed: apt-get install prometheus")
    write_rules(folder)
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(_config(targets)))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
    try:
        _wait_until_ready(process, f"http://{address}/-/ready")
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(30)


def _config(targets: Mapping[str, str]) -> dict[str, Any]:
    pods = [
        {
            "targets": [address],
            "labels": {"namespace": "local", "pod": name, "app_kubernetes_io_name": name},
        }
        for name, address in targets.items()
    ]
    interval = f"{SCRAPE_SECONDS}s"
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [f"{name}.yaml" for name in NAMES],
        "scrape_configs": [
            {"job_name": "faceloom", "scrape_timeout": interval, "static_configs": pods}
        ],
    }


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < deadline, "Prometheus did not start"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
