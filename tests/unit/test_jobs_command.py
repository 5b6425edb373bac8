"""`faceloom jobs`: what it says before a cluster is asked for anything."""

import json
from pathlib import Path

from tests.commands import faceloom


def plan(tmp_path: Path, *arguments: object) -> dict[str, object]:
    done = faceloom("jobs", "plan", "--json", *arguments, store=tmp_path)
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_plan_follows_from_the_rates(tmp_path: Path) -> None:
    rates = ("--rate", 1000, "--accepted-share", 0.1, "--face-bytes", 2e6, "--candidate-bytes", 100)
    sizing = plan(tmp_path, "--candidates", 3_600_000, "--nodes", 2, "--gpus-per-node", 8, *rates)
    assert sizing["hours"] == 0.5
    assert sizing["node_hours"] == 1.0
    assert sizing["gpu_hours"] == 8.0
    assert sizing["accepted"] == 360_000
    assert sizing["dataset_bytes"] == 360_000 * 2_000_000 + 3_600_000 * 100
    assert sizing["blocks"] == 56_250
    assert sizing["shards"] == 14_063


def test_hours_of_gpus_do_not_come_from_a_rate_without_gpus(tmp_path: Path) -> None:
    plain = faceloom("jobs", "plan", "--candidates", 1000, "--nodes", 2, store=tmp_path)
    assert (plain.code, "GPUs" in plain.out) == (0, False)

    command = ("jobs", "plan", "--candidates", 1000, "--nodes", 2, "--gpus-per-node", 1)
    refused = faceloom(*command, store=tmp_path)
    assert (refused.code, "--rate" in refused.err) == (2, True)
    asked = faceloom(*command, "--rate", 100, store=tmp_path)
    assert [line for line in asked.out.splitlines() if line.startswith("of all GPUs")]


def test_plan_of_accepted_faces_counts_the_candidates(tmp_path: Path) -> None:
    sizing = plan(tmp_path, "--accepted", 59_000, "--nodes", 1, "--shards", 100)
    assert (sizing["candidates"], sizing["shards"]) == (1_000_000, 100)


def test_requests_grow_with_shards_and_not_with_candidates(tmp_path: Path) -> None:
    few, many = (
        plan(tmp_path, "--candidates", count, "--nodes", 1, "--shards", 100, "--rate", count / 100)
        for count in (100_000, 1_000_000)
    )
    assert few["store_requests"] == many["store_requests"]
    assert few["api_requests"] == many["api_requests"]


def test_plan_says_where_its_rates_come_from(tmp_path: Path) -> None:
    done = faceloom("jobs", "plan", "--candidates", 10, "--nodes", 1, "--rate", 5, store=tmp_path)
    (rate,) = (line for line in done.out.splitlines() if line.startswith("candidates per second"))
    (share,) = (line for line in done.out.splitlines() if line.startswith("accepted share"))
    assert "given" in rate
    assert "docs/performance.md" in share


def test_plan_without_a_size_is_bad_usage(tmp_path: Path) -> None:
    done = faceloom("jobs", "plan", "--nodes", 1, store=tmp_path)
    assert (done.code, "--candidates" in done.err) == (2, True)


def test_work_without_an_index_is_bad_configuration(tmp_path: Path) -> None:
    done = faceloom("jobs", "work", "--output", tmp_path / "out", store=tmp_path)
    assert done.code == 78
    assert "JOB_COMPLETION_INDEX" in done.err.splitlines()[-1]
