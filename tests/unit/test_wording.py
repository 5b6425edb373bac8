"""Words for people: no plural of one thing, no Python in what is wrong with a file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.commands import faceloom

from faceloom.core.wording import counted
from faceloom.datasets.filter import By, Filter
from faceloom.datasets.identity import FaceSource
from faceloom.datasets.manifest import Manifest
from faceloom.datasets.recipe import ModelIdentity, Recipe, differences
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.stage import SEGMENTATION, SKETCH
from faceloom.datasets.summary import summary_in
from faceloom.store.model import BrokenModel, open_model


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 faults"), (1, "1 fault"), (2, "2 faults"), (1000, "1,000 faults")]
)
def test_one_thing_is_not_many(count: int, text: str) -> None:
    assert counted(count, "fault") == text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{}", "manifest_sha256 is missing"),
        (b"[]", "it has other fields than it should"),
        (b"\xff", "it is no text"),
    ],
)
def test_what_is_no_manifest(content: bytes, why: str) -> None:
    with pytest.raises(ValueError) as refused:
        Manifest.from_bytes(content)
    assert str(refused.value) == f"not a manifest: {why}"


def test_a_summary_with_other_fields() -> None:
    with pytest.raises(ValueError, match=r"^it has other fields than it should$"):
        summary_in(b'{"planned": 1}')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "model.json: No such file or directory"),
        ("{", "line 1, column 2 is no JSON"),
        ("{}", "service: field required"),
    ],
)
def test_what_is_no_model_is_one_line(text: str | None, why: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "model.json").write_text(text)
    with pytest.raises(BrokenModel) as refused:
        open_model(tmp_path)
    assert str(refused.value) == f"{tmp_path} is not a model: {why}"


def test_recipes_differ_in_words() -> None:
    model, source = ModelIdentity("tiny", "1", "0" * 64, "MIT"), FaceSource("0" * 64, 0.7)
    spec = BuildSpec(candidates=64)
    by_model = Filter(By.MODEL, threshold=0.5)
    old = Recipe(
        spec, source, {"sketch": model}, by_model, (SKETCH, SEGMENTATION), ("skin", "nose")
    )
    new = replace(
        old,
        source=replace(source, truncation_cutoff=8),
        filter=Filter(By.TOP, top=9),
        stages=(),
        class_names=("skin",),
    )

    assert differences(old, new) == [
        "class_names: skin, nose -> skin",
        "faces.truncation_cutoff: nothing -> 8",
        "filter.by: model -> top",
        "filter.threshold: 0.5 -> nothing",
        "filter.top: nothing -> 9",
        "stages: sketch, segmentation -> none",
    ]


def test_one_fault_of_a_dataset(tmp_path: Path) -> None:
    done = faceloom("verify", tmp_path, "--json", store=tmp_path)

    assert (done.code, done.err) == (1, f"faceloom: {tmp_path} has 1 fault\n")
    assert len(json.loads(done.out)["faults"]) == 1


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_store_that_is_not_there_is_not_intact(command: str, tmp_path: Path) -> None:
    done = faceloom("models", command, store=tmp_path / "none")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"faceloom: there is no model store {tmp_path / 'none'};")
