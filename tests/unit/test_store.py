"""Models at rest: what is damaged is not loaded."""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from faceloom.core.errors import UsageError
from faceloom.runtime.service import services
from faceloom.runtime.stack import Stack
from faceloom.store.model import BrokenModel, file_sha256, open_model
from faceloom.store.package import package_profile
from faceloom.store.profile import model_folder, profile_services
from faceloom.store.torch_model import load_weights, ready_network


def describe(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    description: dict[str, Any] = {
        "service": "quality",
        "name": "tiny",
        "version": "3",
        "network": {},
        "options": {},
        "weights": {
            "file": "weights.safetensors",
            "sha256": file_sha256(folder / "weights.safetensors"),
        },
        "license": "MIT",
        "sources": [],
        "metrics": {},
    }
    (folder / "model.json").write_text(json.dumps(description | changes))
    return folder


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")

    # FIPS 180-2, appendix B.1.
    assert file_sha256(tmp_path / "f") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_whole_model_opens(tmp_path: Path) -> None:
    model = open_model(describe(tmp_path / "m"))

    info = model.info("cuda:1", "H200")
    assert (info.name, info.version, info.license) == ("tiny", "3", "MIT")
    assert (info.device, info.processor) == ("cuda", "H200")
    assert info.digest == file_sha256(model.weights_path)


def test_changed_weights_are_refused(tmp_path: Path) -> None:
    folder = describe(tmp_path / "m")
    (folder / "weights.safetensors").write_bytes(b"w3ights")

    with pytest.raises(BrokenModel, match="has changed"):
        open_model(folder)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b"null", b"\xff\xfe\x00", b'{"service": "quality"}', b'{"folder": "/"}'],
)
def test_a_description_that_makes_no_sense_is_refused(tmp_path: Path, text: bytes) -> None:
    folder = describe(tmp_path / "m")
    (folder / "model.json").write_bytes(text)

    with pytest.raises(BrokenModel, match="is not a model"):
        open_model(folder)


def test_unknown_keys_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenModel, match="surprise"):
        open_model(describe(tmp_path / "a", surprise=1))
    folder = describe(tmp_path / "b")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(BrokenModel, match=r"weights\.safetensors"):
        open_model(folder)
    with pytest.raises(BrokenModel, match="is not a model"):
        open_model(tmp_path / "nowhere")


def test_weights_load_strictly_and_in_float32(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    halves = {"weight": torch.ones(2, 3, dtype=torch.float16)}
    describe(folder)
    save_file(halves, folder / "weights.safetensors")
    describe_digest = file_sha256(folder / "weights.safetensors")
    description = json.loads((folder / "model.json").read_text())
    description["weights"]["sha256"] = describe_digest
    (folder / "model.json").write_text(json.dumps(description))

    weights = load_weights(open_model(folder))
    arguments = {"in_features": 3, "out_features": 2}
    network = ready_network(nn.Linear, arguments | {"bias": False}, weights, "cpu")

    assert network.weight.dtype == torch.float32
    assert not network.training and not network.weight.requires_grad
    with pytest.raises(RuntimeError, match="Missing key"):
        ready_network(nn.Linear, arguments, weights, "cpu")


def test_the_store_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p" / "quality").mkdir(parents=True)
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))

    assert model_folder("p", "quality") == tmp_path / "p" / "quality"
    with pytest.raises(UsageError, match="FACELOOM_MODEL_STORE"):
        model_folder("p", "sketch")


@pytest.mark.parametrize("name", profile_services("tiny"))
def test_the_shipped_models_are_whole_and_licensed(name: str) -> None:
    model = open_model(model_folder("tiny", name))

    assert model.service == name
    assert model.license


def test_a_profile_is_packaged_as_one_archive_per_model(tmp_path: Path) -> None:
    archives = package_profile("tiny", tmp_path)

    names = [archive.stem for archive in archives]
    assert names == list(profile_services("tiny"))
    assert {"generator", "quality", "segmentation", "sketch"} <= set(names)
    for archive in archives:
        weights = model_folder("tiny", archive.stem) / "weights.safetensors"
        assert weights.stat().st_size in [one.file_size for one in ZipFile(archive).infolist()]


def test_a_damaged_model_is_not_packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in services():
        folder = tmp_path / "tiny" / name
        folder.parent.mkdir(exist_ok=True)
        describe(folder)
    (tmp_path / "tiny" / min(services()) / "weights.safetensors").write_bytes(b"w3ights")
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))

    with pytest.raises(BrokenModel):
        package_profile("tiny", tmp_path / "out")


async def test_a_service_without_a_model_is_neither_packaged_nor_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half").mkdir()
    for name in ("quality", "sketch"):
        describe(tmp_path / "half" / name, service=name)
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))

    archives = package_profile("half", tmp_path / "mar")
    stack = Stack(tmp_path / "mar", tmp_path / "stack")
    await stack.stop()

    assert list(profile_services("half")) == ["quality", "sketch"]
    assert [archive.name for archive in archives] == ["quality.mar", "sketch.mar"]
    assert list(stack.services) == ["quality", "sketch"]


def test_a_profile_without_models_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))

    for profile in ("empty", "nowhere"):
        with pytest.raises(UsageError, match="FACELOOM_MODEL_STORE"):
            package_profile(profile, tmp_path / "out")
    assert not (tmp_path / "out").exists()
