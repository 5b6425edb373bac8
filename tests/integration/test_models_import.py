"""Published checkpoints become models of the store, by the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.reference import stylegan2 as plain
from tests.reference.stylegan2_files import rosinality_converted

from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.errors import InvalidArgument
from faceloom.runtime.service import service
from faceloom.store.importing import formats
from faceloom.store.model import file_sha256, open_model

LICENCE = "NVIDIA Source Code License-NC"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "faces.pt"
    torch.save(rosinality_converted(plain.random_network((12, 8), 16, 2, seed=1)), path)
    return path


def models(store: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "faceloom.cli.main", "models", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"FACELOOM_MODEL_STORE": str(store), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def arguments(file: Path, **changes: str) -> list[str]:
    told = {"kind": "generator", "format": "rosinality", "name": "star", "license": LICENCE}
    options = [part for name, value in (told | changes).items() for part in (f"--{name}", value)]
    return ["import", str(file), *(part for part in options if part)]


def test_a_checkpoint_becomes_a_model_that_serves(checkpoint: Path, tmp_path: Path) -> None:
    first = models(tmp_path, *arguments(checkpoint))
    second = models(tmp_path, *arguments(checkpoint))

    folder = tmp_path / "models" / "generator" / "star"
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert f"{LICENCE} (non-commercial" in first.stdout
    one, two = open_model(folder / "1"), open_model(folder / "2")
    assert (one.version, two.version) == ("1", "2")
    assert one.weights == two.weights
    assert one.sources[0]["sha256"] == file_sha256(checkpoint)
    card = (folder / "1" / "README.md").read_text()
    assert one.weights.sha256 in card and "non-commercial" in card
    listed = json.loads(models(tmp_path, "list", "--json").stdout)["models"]
    assert [model["path"] for model in listed] == [f"models/generator/star/{n}" for n in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_a_changed_import_is_found(checkpoint: Path, tmp_path: Path) -> None:
    models(tmp_path, *arguments(checkpoint))
    weights = tmp_path / "models" / "generator" / "star" / "1" / "weights.safetensors"
    assert models(tmp_path, "verify").returncode == 0

    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    assert models(tmp_path, "verify").returncode == 1


def test_a_call_may_ask_for_as_much_as_was_measured(checkpoint: Path, tmp_path: Path) -> None:
    models(tmp_path, *arguments(checkpoint))
    folder = tmp_path / "models" / "generator" / "star" / "1"
    described = json.loads((folder / "model.json").read_text())
    limits = {"seconds_per_item": 7.5, "max_items": 2}
    (folder / "model.json").write_text(json.dumps(described | {"limits": limits}))
    handler = service("generator").new_handler()
    handler.load(folder, "cpu")

    assert len(handler.decode(generator_pb2.GenerateRequest(seeds=[1, 2])).samples) == 2
    with pytest.raises(InvalidArgument, match="give 1 to 2"):
        handler.decode(generator_pb2.GenerateRequest(seeds=[1, 2, 3]))


@pytest.mark.parametrize(
    ("changes", "told", "code"),
    [
        ({"format": "nvlab"}, "no format 'nvlab'; there are rosinality, nvlabs, tensorflow", 2),
        ({"kind": "faces"}, "no service 'faces'", 2),
        ({"name": "../star"}, "use letters, digits", 2),
        ({"license": ""}, "give --license", 2),
        ({"format": "tensorflow"}, "faces.pt", 1),
    ],
)
def test_a_refused_import_leaves_nothing(
    checkpoint: Path, tmp_path: Path, changes: dict[str, str], told: str, code: int
) -> None:
    command = arguments(checkpoint, **changes)
    if changes.get("license") == "":
        command = [part for part in command if part != "--license"]
    done = models(tmp_path, *command)

    assert done.returncode == code and told in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_losses_are_a_kind_of_their_own() -> None:
    assert set(formats("losses")) == {"alexnet", "lpips", "ir_se50"}
