"""Where an installed Faceloom, which is no place to write to, keeps what a person adds to its models."""

import json
from pathlib import Path

import pytest
from tests.stores import put_import, put_model

from faceloom.store import profile
from faceloom.store.model import replace_model
from faceloom.store.new_profile import create_profile
from faceloom.store.profile import every_model, model_folder, model_store, profiles, stored


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store inside the package, beside no checkout and without the environment's choice."""
    folder = tmp_path / "site-packages" / "faceloom" / "model_store"
    for kind in ("generator", "quality"):
        put_model(folder / "tiny" / kind, kind)
    monkeypatch.delenv("FACELOOM_MODEL_STORE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(profile, "_CHECKOUT", tmp_path / "nothing")
    monkeypatch.setattr(profile, "_PACKAGED", folder)
    return folder


def test_what_came_with_the_package_is_there_and_nothing_is_made(
    packaged: Path, tmp_path: Path
) -> None:
    assert profiles() == ["tiny"]
    assert list(every_model()) == ["tiny/generator", "tiny/quality"]
    assert model_folder("tiny", "quality") == packaged / "tiny" / "quality"
    assert not (tmp_path / "data").exists()


def test_what_a_person_adds_goes_to_a_folder_of_theirs(packaged: Path, tmp_path: Path) -> None:
    own = tmp_path / "data" / "faceloom" / "model_store"
    before = sorted(packaged.rglob("*"))
    assert model_store() == own
    put_import(own, "quality", "mine")

    create_profile("lab", {"generator": ["tiny"], "quality": ["mine"]}, None)

    assert profiles() == ["lab", "tiny"]
    assert json.loads((own / "lab" / "profile.json").read_text())["models"] == {
        "generator": ["tiny/generator"],
        "quality": ["models/quality/mine/1"],
    }
    assert model_folder("lab", "generator") == packaged / "tiny" / "generator"
    assert model_folder("lab", "quality") == own / "models" / "quality" / "mine" / "1"
    assert list(every_model())[-1] == "models/quality/mine/1"
    assert sorted(packaged.rglob("*")) == before


def test_a_model_trained_anew_goes_before_the_one_of_the_package(
    packaged: Path, tmp_path: Path
) -> None:
    replace_model(packaged / "tiny" / "quality", model_store() / "tiny" / "quality")

    assert model_folder("tiny", "quality") == model_store() / "tiny" / "quality"
    assert model_folder("tiny", "generator") == packaged / "tiny" / "generator"
    assert list(every_model()) == ["tiny/generator", "tiny/quality"]
    assert every_model()["tiny/quality"] == stored("tiny/quality") == model_store() / "tiny/quality"


def test_a_relative_data_home_counts_for_nothing(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert model_store() == tmp_path / "home/.local/share/faceloom/model_store"
