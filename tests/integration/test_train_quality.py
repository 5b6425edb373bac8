"""`faceloom train quality` on a real dataset: another taste is learned, compared and stored."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from faceloom.cli.main import app
from faceloom.core.errors import UsageError
from faceloom.store.model import BrokenModel, open_model, replace_model
from faceloom.store.profile import model_store
from faceloom.training.quality.choices import part_of, read_choices

TINY = model_store() / "tiny"
Taste = Callable[[bool], Path]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choices") / "dataset"
    command = ["build", "--candidates", "192", "--engine", "inprocess", "--out", str(folder)]
    assert CliRunner().invoke(app, command).exit_code == 0
    return folder


@pytest.fixture
def taste(dataset: Path, tmp_path: Path) -> Taste:
    """Writes a label file by what the filter in the store thinks of every candidate: the half that it
    likes better is kept, or, for the contrary taste, the other one."""

    def write(contrary: bool) -> Path:
        scores = {
            row["id"]: row["quality"]
            for name in ("metadata.jsonl", "rejected.jsonl")
            for row in map(json.loads, (dataset / name).read_text().splitlines())
        }
        median = float(np.median(list(scores.values())))
        every = tmp_path / "all.jsonl"
        write_labels(
            every,
            {i: "keep" if (s > median) != contrary else "reject" for i, s in scores.items()},
        )
        return every

    return write


def kind(number: int) -> str:
    return "keep" if number % 2 else "reject"


def ids(dataset: Path) -> list[str]:
    lines = [
        line
        for name in ("metadata.jsonl", "rejected.jsonl")
        for line in (dataset / name).read_text().splitlines()
    ]
    return [json.loads(line)["id"] for line in lines]


def write_labels(path: Path, labels: dict[str, str]) -> None:
    rows = [json.dumps({"id": identity, "label": label}) for identity, label in labels.items()]
    path.write_text("\n".join(rows))


def train(labels: Path, dataset: Path, out: Path, *options: str) -> Result:
    command = ["train", "quality", "--labels", labels, "--dataset", dataset, "--out", out]
    return CliRunner().invoke(app, [*map(str, command), *options, "--json"])


def test_another_taste_is_learned_and_goes_into_the_store(
    taste: Taste, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    for service in ("generator", "quality"):
        shutil.copytree(TINY / service, store / "tiny" / service)
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(store))
    before = open_model(store / "tiny" / "quality").weights.sha256

    result = train(taste(True), dataset, tmp_path / "run", "--steps", "24", "--store")

    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert report["better"] and report["stored"]
    assert report["old"]["auc"] == 0 and report["new"]["auc"] > 0.1
    held_out = [identity for identity in ids(dataset) if part_of(identity) == "held_out"]
    assert (report["labels"], report["held_out"]) == (192, len(held_out))
    there = open_model(store / "tiny" / "quality")
    assert there.weights.sha256 == open_model(tmp_path / "run" / "model").weights.sha256 != before
    assert (tmp_path / "run" / "model" / "card" / "calibration.png").is_file()
    assert sorted(path.name for path in (store / "tiny").iterdir()) == ["generator", "quality"]


def test_a_filter_that_is_not_better_stays_out_of_the_store(
    taste: Taste, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    for service in ("generator", "quality"):
        shutil.copytree(TINY / service, store / "tiny" / service)
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(store))
    before = open_model(store / "tiny" / "quality").weights.sha256

    # What the filter itself says is what it cannot be beaten at.
    result = train(taste(False), dataset, tmp_path / "run", "--steps", "1", "--store")

    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    assert report["old"]["auc"] == 1 and not report["better"] and not report["stored"]
    assert open_model(store / "tiny" / "quality").weights.sha256 == before


def test_rejected_candidates_are_made_again_as_they_were(dataset: Path, tmp_path: Path) -> None:
    every = tmp_path / "all.jsonl"
    write_labels(every, {identity: kind(i) for i, identity in enumerate(ids(dataset))})
    choices = read_choices(every, dataset, TINY / "generator")

    from faceloom.training.quality.render import make_faces

    rejected = [json.loads(x) for x in (dataset / "rejected.jsonl").read_text().splitlines()]
    seeds = [row["seed"] for row in rejected[:3]]
    expected = make_faces(TINY / "generator", seeds, [0.7] * 3)
    first = len(ids(dataset)) - len(rejected)
    assert np.array_equal(choices.faces[first : first + 3].permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "all.jsonl:1: give"),
        ('{"id": "x"}', "all.jsonl:1: give"),
        ('{"id": "x", "label": "maybe"}', "the label is 'maybe'"),
        ('{"id": "nobody", "label": "keep"}', "no face with the id 'nobody'"),
        (
            '{"id": "x", "label": "keep"}\n{"id": "x", "label": "reject"}',
            "x was labelled differently",
        ),
    ],
)
def test_a_bad_label_file_is_one_line(
    line: str, message: str, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "all.jsonl").write_text(line)

    with pytest.raises(UsageError, match=r"all\.jsonl") as caught:
        read_choices(tmp_path / "all.jsonl", dataset, TINY / "generator")

    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_too_few_labels_are_refused_before_anything_is_written(
    dataset: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    write_labels(few, {identity: kind(i) for i, identity in enumerate(ids(dataset)[:12])})

    result = train(few, dataset, tmp_path / "run")

    assert result.exit_code != 0 and not (tmp_path / "run").exists()


def test_what_is_no_dataset_is_said(tmp_path: Path) -> None:
    labels = tmp_path / "l.jsonl"
    labels.write_text('{"id": "x", "label": "keep"}')

    with pytest.raises(UsageError, match="not a finished dataset"):
        read_choices(labels, tmp_path, TINY / "generator")


def test_a_replacement_killed_half_way_loses_nothing(tmp_path: Path) -> None:
    shutil.copytree(TINY / "sketch", tmp_path / ".there.old")
    shutil.copytree(TINY / "segmentation", tmp_path / ".there.new")

    with pytest.raises(BrokenModel):
        replace_model(tmp_path / "nothing", tmp_path / "there")
    replace_model(TINY / "quality", tmp_path / "there")

    assert open_model(tmp_path / "there").service == "quality"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_damaged_model_does_not_replace_a_whole_one(tmp_path: Path) -> None:
    shutil.copytree(TINY / "sketch", tmp_path / "there")
    shutil.copytree(TINY / "sketch", tmp_path / "new")
    (tmp_path / "new" / "weights.safetensors").write_bytes(b"half a file")

    with pytest.raises(BrokenModel):
        replace_model(tmp_path / "new", tmp_path / "there")

    open_model(tmp_path / "there")
