"""A real Prometheus beside the real stack, while a build runs and one of its workers is killed: whatever
dashboards and alerts ask for is there."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests import rpc
from tests.contract.fronts import free_port
from tests.monitoring.prometheus import SCRAPE_SECONDS, Prometheus, running
from tests.monitoring.queries import asked, metrics_in, of_dashboards, of_rules
from tests.monitoring.rules import alerts
from tests.studio.process import running_studio
from tests.torchserve.test_builds import finish, start_build, wait_for_shards

from faceloom.generator.v1 import generator_pb2
from faceloom.store.profile import profile_services

pytestmark = [pytest.mark.torchserve, pytest.mark.timeout(600)]

_KILLED = "generator"
_DEADLINE_SECONDS = 240

# Panels that have nothing to show here, and why.
_NOTHING_TO_SHOW = {
    "build: Failures by reason": "no candidate fails",
    "engine: GPU": "needs a GPU and DCGM's exporter",
    "engine: GPU memory": "needs a GPU and DCGM's exporter",
    "engine: GPU temperature": "needs a GPU and DCGM's exporter",
}
# Metrics of alerts that a stack without a GPU, a mesh and an incident does not have.
_NOT_HERE = {"citadel_server_root_cert_expiry_timestamp"}


@dataclass
class Observed:
    """What Prometheus saw of the run."""

    prometheus: Prometheus
    built: dict[str, Any]
    killed_at: float
    restarts_before: float
    unanswered: set[str]


def worker(stack: Any, name: str) -> int:
    """The pid of the model's worker."""
    url = f"http://127.0.0.1:{stack.torchserve_ports.management}/models/{name}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        [found] = json.load(answer)[0]["workers"]
    return int(found["pid"])


def restarts(address: str) -> float:
    """How many workers a front has seen replaced."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    [count] = [one.value for one in samples if one.name == "faceloom_worker_restarts_total"]
    return float(count)


@pytest.fixture(scope="module")
def observed(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A build that loses a worker, watched from before its beginning to after its end."""
    folder = tmp_path_factory.mktemp("monitoring")
    names = [*profile_services("tiny"), "pipeline"]
    targets = {name: f"127.0.0.1:{stack.metrics_port(name)}" for name in names}
    targets["studio"] = f"127.0.0.1:{(metrics_port := free_port())}"
    datasets, labels = folder / "studio", f"sqlite:///{folder / 'labels.db'}"
    with (
        running(folder, targets) as prometheus,
        running_studio(datasets, labels, stack.port_offset, metrics_port) as (_, studio),
    ):
        questions = [(where, asked(expr, "20s")) for where, expr in [*of_dashboards(), *recorded()]]
        unanswered = dict(enumerate(questions))
        deadline = time.monotonic() + _DEADLINE_SECONDS
        out = folder / "dataset"
        build = start_build(out, stack, "--candidates", "768", "--shards", "12")
        wait_for_shards(out, 1)
        restarts_before = restarts(targets[_KILLED])
        killed_at = time.time()
        os.kill(worker(stack, _KILLED), signal.SIGKILL)
        while time.monotonic() < deadline:
            urllib.request.urlopen(f"{studio}/gallery", timeout=10).close()
            for number, (_, expr) in list(unanswered.items()):
                if prometheus.ask(expr):
                    del unanswered[number]
            ended = build.poll() is not None
            if ended and {where for where, _ in unanswered.values()} <= _NOTHING_TO_SHOW.keys():
                break
            time.sleep(SCRAPE_SECONDS / 2)
        left = {where for where, _ in unanswered.values()}
        yield Observed(prometheus, finish(build), killed_at, restarts_before, left)


def recorded() -> Iterator[tuple[str, str]]:
    """The rules that are no alerts."""
    return ((name, expr) for name, expr in of_rules() if name not in alerts())


def test_every_panel_and_every_recorded_rule_has_something_to_show(observed: Observed) -> None:
    assert observed.unanswered == _NOTHING_TO_SHOW.keys()


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_asks_for_what_is_there(observed: Observed, alert: str) -> None:
    for metric in metrics_in(alerts()[alert]["expr"]) - _NOT_HERE:
        assert observed.prometheus.ask(metric), metric


def test_the_killed_worker_is_seen_within_two_scrapes(observed: Observed) -> None:
    pod = f'{{pod="{_KILLED}"}}'
    up = observed.prometheus.since(f"faceloom_engine_up{pod}", observed.killed_at)
    counted = observed.prometheus.since(f"faceloom_worker_restarts_total{pod}", observed.killed_at)
    seen = [at for at, value in up if value == 0]
    seen += [at for at, value in counted if value > observed.restarts_before]

    assert counted[-1][1] == observed.restarts_before + 1
    assert min(seen) <= [at for at, _ in up][1]


def test_the_build_is_what_was_ordered_and_prometheus_knows(observed: Observed) -> None:
    assert observed.built["planned"] == 768
    assert observed.prometheus.wait_for('sum(faceloom_build_items_total{build!=""}) >= 768')
    assert observed.prometheus.wait_for('sum(faceloom_builds{state="running"}) == 0')


def test_everything_is_read(observed: Observed) -> None:
    expected = {*profile_services("tiny"), "pipeline", "studio"}
    assert observed.prometheus.wait_for(f"count(up == 1) == {len(expected)}")
    assert {answer["metric"]["pod"] for answer in observed.prometheus.ask("up")} == expected


def test_logs_are_lines_of_json_and_name_the_request(stack: Any) -> None:
    async def refused() -> None:
        async with rpc.connect(stack.port("generator")) as channel:
            bad = generator_pb2.GenerateRequest(seeds=range(10_000))
            call = rpc.call(channel, "generator", bad, metadata=[("x-request-id", "find-me")])
            await rpc.refusal(call)

    asyncio.run(refused())

    assert {file.stem for file in stack.logs.glob("*.log")} == {
        *profile_services("tiny"), "pipeline", "torchserve",
    }  # fmt: skip
    for file in stack.logs.glob("*.log"):
        for line in file.read_text().splitlines():
            assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
    lines = (stack.logs / "generator.log").read_text().splitlines()
    [told] = [json.loads(line) for line in lines if "find-me" in line]
    assert (told["request_id"], told["code"]) == ("find-me", "INVALID_ARGUMENT")
