"""Builds through the real stack: the bytes they make, and what they survive."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.torchserve

CANDIDATES = 256
SHARDS = 4


def start_build(out: Path, stack: Any, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "faceloom.cli.main", "build", "--json", "--out", str(out)]
    return subprocess.Popen(
        [*command, *(options or ("--candidates", str(CANDIDATES), "--shards", str(SHARDS)))],
        env={**os.environ, "FACELOOM_PORT_OFFSET": str(stack.port_offset)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return dict(json.loads(output.splitlines()[-1]))


def descendant(part: str) -> psutil.Process:
    """The process of our own stack whose command line has that part."""
    found = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.is_running() and part in " ".join(process.cmdline())
    ]
    assert found, f"no process with {part}"
    return found[0]


def wait_for_shards(out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(out.glob(".build/shards/0*/manifest.json"))) < count:
        assert time.monotonic() < deadline, "the build made no progress"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, stack: Any) -> dict[str, Any]:
    return finish(start_build(tmp_path_factory.mktemp("build") / "dataset", stack))


def test_every_candidate_is_accounted_for(undisturbed: dict[str, Any]) -> None:
    counts = [undisturbed[name] for name in ("accepted", "rejected", "failed")]
    assert undisturbed["planned"] == sum(counts) == CANDIDATES
    assert undisturbed["accepted"] > 0
    assert undisturbed["failed"] == 0
    rows = Path(undisturbed["output"], "metadata.jsonl").read_text().splitlines()
    assert len(rows) == undisturbed["accepted"]


def test_the_in_process_engine_makes_the_same_bytes(
    undisturbed: dict[str, Any], stack: Any, tmp_path: Path
) -> None:
    options = ("--candidates", str(CANDIDATES), "--engine", "inprocess", "--shards", "1")
    alone = finish(start_build(tmp_path / "dataset", stack, *options))
    assert alone["recipe_digest"] == undisturbed["recipe_digest"]
    assert alone["dataset_digest"] == undisturbed["dataset_digest"]


@pytest.mark.parametrize(
    "victim", ["model_service_worker.py", "org.pytorch.serve.ModelServer", "serve pipeline"]
)
def test_a_build_survives_the_death_of(
    victim: str, undisturbed: dict[str, Any], stack: Any, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    building = start_build(out, stack)
    wait_for_shards(out, 1)
    descendant(victim).send_signal(signal.SIGKILL)
    output, _ = building.communicate(timeout=240)
    if building.returncode != 0:
        output = json.dumps(finish(start_build(out, stack)))
    survived = json.loads(output.splitlines()[-1])
    assert survived["dataset_digest"] == undisturbed["dataset_digest"]
    assert survived["failed"] == 0


def test_a_killed_client_loses_nothing(
    undisturbed: dict[str, Any], stack: Any, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    building = start_build(out, stack)
    wait_for_shards(out, 1)
    building.kill()
    building.communicate()
    assert finish(start_build(out, stack))["dataset_digest"] == undisturbed["dataset_digest"]


def test_a_killed_in_process_build_is_taken_up(
    undisturbed: dict[str, Any], stack: Any, tmp_path: Path
) -> None:
    out = tmp_path / "dataset"
    options = ("--candidates", str(CANDIDATES), "--engine", "inprocess", "--shards", str(SHARDS))
    building = start_build(out, stack, *options)
    wait_for_shards(out, 1)
    building.kill()
    building.communicate()
    again = finish(start_build(out, stack, *options))
    assert again["dataset_digest"] == undisturbed["dataset_digest"]


def test_verify_names_a_changed_file(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(undisturbed["output"], copy)
    changed = next((copy / "images").iterdir())
    changed.write_bytes(changed.read_bytes() + b"x")
    command = [sys.executable, "-m", "faceloom.cli.main", "verify", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"images/{changed.name}" in done.stdout
