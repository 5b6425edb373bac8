"""What schema 1 wrote goes on being read: verified, reported, shown, trained on, labelled and grown."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.commands import faceloom

OLD = Path("tests/data/schema-1")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A copy of the dataset that is kept."""
    return Path(shutil.copytree(OLD / "dataset", tmp_path / "dataset"))


def rows(output: Path) -> dict[str, Any]:
    lines = (output / "metadata.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_it_is_intact_and_a_changed_byte_is_noticed(dataset: Path, tmp_path: Path) -> None:
    assert faceloom("verify", dataset, store=Path("model_store")).code == 0
    # Of the build alone, and of the dataset.
    next((dataset / "images").iterdir()).write_bytes(b"")
    assert faceloom("verify", dataset, store=Path("model_store")).code == 1


def test_labels_are_found_for_it(dataset: Path, tmp_path: Path) -> None:
    shutil.copy(OLD / "labels.db", tmp_path / "labels.db")
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    done = faceloom(
        "label",
        "status",
        "--dataset",
        dataset,
        "--labels",
        url,
        "--json",
        store=Path("model_store"),
    )
    told = json.loads(done.out)
    assert told["people"] == {
        "Ann": {"keep": 6, "reject": 13},
        "Bo": {"keep": 4, "reject": 0},
    }


def test_it_grows_and_keeps_ids_splits_files_and_labels(dataset: Path, tmp_path: Path) -> None:
    before = rows(dataset)
    files = {path: path.read_bytes() for path in dataset.rglob("*.png")}
    done = faceloom(
        "build", "--engine", "inprocess", "--candidates", 192, "--seed", 1, "--out", dataset,
        store=Path("model_store"),
    )  # fmt: skip
    assert done.code == 0, done.err
    after = rows(dataset)
    kept = {key: {**row} for key, row in after.items() if key in before}
    assert {key: {**row, **before[key]} for key, row in kept.items()} == kept
    assert kept.keys() == before.keys() and len(after) > len(before)
    assert {path: path.read_bytes() for path in files} == files
    assert faceloom("verify", dataset, store=Path("model_store")).code == 0
    shutil.copy(OLD / "labels.db", tmp_path / "labels.db")
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    out = tmp_path / "labels.jsonl"
    done = faceloom(
        "label", "export", "--dataset", dataset, "--labels", url, "--out", out,
        store=Path("model_store"),
    )  # fmt: skip
    assert done.code == 0, done.err
    assert out.read_text() == (OLD / "labels.jsonl").read_text()


def test_it_is_a_pool_whose_faces_keep_their_ids(dataset: Path, tmp_path: Path) -> None:
    before = rows(dataset)
    shutil.copy(OLD / "labels.jsonl", tmp_path)
    for options in (("--threshold", "0.5"), ("--labels", tmp_path / "labels.jsonl")):
        output = tmp_path / str(options[0])
        done = faceloom(
            "dataset", "select", dataset, *options, "--engine", "inprocess", "--out", output,
            store=Path("model_store"),
        )  # fmt: skip
        assert done.code == 0, done.err
        assert faceloom("verify", output, "--pixels", store=Path("model_store")).code == 0
        shared = rows(output).keys() & before.keys()
        assert len(shared) > 3
        for identity in shared:
            # Taken as they are, marks of then and all.
            assert rows(output)[identity]["sha256"] == before[identity]["sha256"]
    kept = [json.loads(line) for line in (OLD / "labels.jsonl").read_text().splitlines()]
    assert rows(output).keys() == {row["id"] for row in kept if row["label"] == "keep"}
