"""TorchServe archives: the same content is the same bytes, in the layout TorchServe knows."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from tests.fakes import fake_service

from faceloom.runtime.archive import write_archive


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "model.json").write_text(json.dumps({"weights": {"file": "weights.safetensors"}}))
    (folder / "card").mkdir()
    return folder


def test_the_same_model_is_the_same_bytes(model: Path, tmp_path: Path) -> None:
    service = fake_service()

    first = write_archive(service, [model], tmp_path / "a")
    (model / "weights.safetensors").touch()
    second = write_archive(service, [model], tmp_path / "b")

    assert first.name == "fake.mar"
    assert first.read_bytes() == second.read_bytes()


def test_other_weights_are_other_bytes(model: Path, tmp_path: Path) -> None:
    first = write_archive(fake_service(), [model], tmp_path / "a")
    (model / "weights.safetensors").write_bytes(b"w3ights")
    second = write_archive(fake_service(), [model], tmp_path / "b")

    assert hashlib.sha256(first.read_bytes()) != hashlib.sha256(second.read_bytes())
    assert first.read_bytes() != second.read_bytes()


def test_the_manifest_has_the_layout_of_torch_model_archiver(model: Path, tmp_path: Path) -> None:
    archive = write_archive(fake_service(), [model], tmp_path / "a")

    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        manifest = json.loads(opened.read("MAR-INF/MANIFEST.json"))
        assert opened.read("weights.safetensors") == b"weights"
    assert set(manifest) == {"createdOn", "runtime", "model", "archiverVersion"}
    assert manifest["runtime"] == "python"
    assert manifest["model"] == {
        "modelName": "fake",
        "modelVersion": "1.0",
        "handler": "handler.py",
        "serializedFile": "weights.safetensors",
        "configFile": "model-config.yaml",
    }
    assert sorted(names) == [
        "MAR-INF/MANIFEST.json",
        "handler.py",
        "model-config.yaml",
        "model.json",
        "weights.safetensors",
    ]


def test_a_failed_attempt_leaves_the_old_archive_and_no_litter(model: Path, tmp_path: Path) -> None:
    archive = write_archive(fake_service(), [model], tmp_path / "a")
    before = archive.read_bytes()
    (model / "weights.safetensors").unlink()

    with pytest.raises(OSError):
        write_archive(fake_service(), [model], tmp_path / "a")

    assert archive.read_bytes() == before
    assert list((tmp_path / "a").iterdir()) == [archive]
