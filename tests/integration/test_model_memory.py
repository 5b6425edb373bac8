"""A large model takes memory about once: where it is imported, where it is packaged, where it is served."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.reference import psp, stylegan2

from faceloom.store.model import file_sha256

CHILD = Path(__file__).with_name("memory_child.py")
# Memory is given out in pieces, and not all of it at once.
BESIDE = 20e6


def taken(what: str, store: Path, *paths: Path) -> dict[str, int]:
    """The peak of a process's memory and what it kept, in bytes."""
    done = subprocess.run(
        [sys.executable, CHILD, what, *paths],
        env=os.environ | {"FACELOOM_MODEL_STORE": str(store), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With checkpoints of two pixel2style2pixel with 300 MB of weights each, for faces of 64 pixels."""
    folder = tmp_path_factory.mktemp("store")
    decoder = stylegan2.random_network([16, 12, 10, 8, 6], 512, 2)
    for name, channels in (("sketches", 1), ("photographs", 3)):
        encoder = psp.random_encoder(channels, 10, 512, 64, (1, 1, 1, 1), (16, 32, 64, 512))
        net = psp.PSp(encoder, decoder, decoder.w_avg.expand(10, -1))
        torch.save(psp.checkpoint(net), folder / f"{name}.pt")
    return folder


@pytest.fixture(scope="module")
def size(store: Path) -> int:
    """Of a checkpoint, in bytes."""
    return (store / "sketches.pt").stat().st_size


@pytest.fixture(scope="module")
def importing(store: Path) -> dict[str, int]:
    """What the import of a checkpoint took."""
    return taken("import", store, store / "sketches.pt")


@pytest.fixture
def folder(importing: dict[str, int], store: Path) -> Path:
    """Of the imported model."""
    return store / "models" / "translator" / "sketches" / "1"


def test_importing(importing: dict[str, int], size: int) -> None:
    assert size > 280e6
    # Mapped while it is written, and loaded after that; then it computes.
    assert size * 0.9 < importing["peak"] < 1.2 * size + BESIDE


def test_joining(folder: Path, store: Path, size: int) -> None:
    taken("import", store, store / "photographs.pt")
    other = store / "models" / "translator" / "photographs" / "1"

    joining = taken("join", store, folder, other)

    # Mapped while they are written, and loaded after that; then the joined model computes.
    assert 2 * size * 0.9 < joining["peak"] < 2 * 1.1 * size + BESIDE


def test_loading(folder: Path, store: Path, size: int) -> None:
    loading = taken("load", store, folder)

    assert size * 0.9 < loading["kept"] <= loading["peak"] < 1.05 * size + BESIDE


def test_packaging(folder: Path, store: Path, size: int) -> None:
    assert taken("package", store, folder)["peak"] < BESIDE
    assert (folder.parent / "mar" / "translator.mar").stat().st_size > 0.9 * size


def test_half_precision_at_rest_becomes_float32_tensor_by_tensor(
    folder: Path, store: Path, size: int
) -> None:
    description = json.loads((folder / "model.json").read_text())
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(folder / "weights.safetensors").items()
    }
    half = store / "half"
    half.mkdir()
    save_file(halves, half / "weights.safetensors")
    description["weights"]["sha256"] = file_sha256(half / "weights.safetensors")
    (half / "model.json").write_text(json.dumps(description))

    loading = taken("load", store, half)

    assert size * 0.9 < loading["kept"] <= loading["peak"] < 1.05 * size + BESIDE
