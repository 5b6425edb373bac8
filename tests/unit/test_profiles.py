"""`faceloom profile`: what it makes, what it refuses in one line, and what a stale profile says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import commands
from tests.stores import put_import, put_model

from faceloom.core.errors import UsageError
from faceloom.runtime.service import service
from faceloom.store.licences import WASEDA
from faceloom.store.model import BrokenModel
from faceloom.store.profile import model_folders, named_model, profile_services, read_profile

Commands = Callable[..., tuple[int, str, str]]
PERMISSION = "the authors, by letter of 5 January 2026, for our lab"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a profile `tiny` of two services, and imports, some of which nobody can serve."""
    store = tmp_path / "store"
    for kind in ("generator", "translator"):
        put_model(store / "tiny" / kind, kind)
    put_import(store, "generator", "star")
    put_import(store, "generator", "star", "2")
    put_import(store, "generator", "small", network={"size": 32})
    put_import(store, "generator", "narrow", network={"style_dim": 64})
    put_import(store, "quality", "mine", license="CC BY-NC 4.0")
    put_import(store, "quality", "odd", service="sketch")
    put_import(store, "quality", "bad")
    weights = store / "models/quality/bad/1/weights.safetensors"
    weights.unlink()
    weights.write_bytes(b"w3ights")
    put_import(store, "sketch", "simp", license=WASEDA)
    put_import(store, "segmentation", "other", options={"order": "voc"})
    put_import(store, "segmentation", "few", network={"classes": 11})
    put_import(store, "segmentation", "parsing", options={"order": "bisenet"})
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(store))
    return store


@pytest.fixture
def faceloom(store: Path) -> Commands:
    """Runs `faceloom` with that store: exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        done = commands.faceloom(*arguments, store=store)
        return done.code, done.out, done.err

    return run


def files(store: Path) -> set[Path]:
    return set(store.rglob("*"))


def test_a_created_profile_is_a_file_that_names_models(store: Path, faceloom: Commands) -> None:
    code, _, errors = faceloom(
        "profile", "create", "full", "--generator", "star", "--generator", "star/1",
        "--quality", "mine", "--translator", "tiny",
    )  # fmt: skip

    assert (code, errors) == (0, "")
    assert json.loads((store / "full" / "profile.json").read_text()) == {
        "models": {
            "generator": ["models/generator/star/2", "models/generator/star/1"],
            "quality": ["models/quality/mine/1"],
            "translator": ["tiny/translator"],
        }
    }
    assert [path.name for path in store.iterdir() if path.name not in ("models", "tiny")] == [
        "full"
    ]
    assert list(profile_services("full")) == ["generator", "quality", "translator"]
    assert [path.name for path in model_folders("full", "generator")] == ["2", "1"]


def test_profiles_are_listed_with_licences_and_permission(store: Path, faceloom: Commands) -> None:
    created = faceloom("profile", "create", "lab", "--sketch", "simp", "--permission", PERMISSION)

    code, text, _ = faceloom("profile", "list")
    _, machine, _ = faceloom("profile", "list", "--json")

    assert created[0] == code == 0
    assert f"sketch        simp v1         {WASEDA} (research only" in text
    assert f"permission: {PERMISSION}" in text
    lab, tiny = json.loads(machine)["profiles"]
    assert (lab["profile"], lab["permission"]) == ("lab", PERMISSION)
    assert [(model["service"], model["name"], model["version"]) for model in lab["models"]] == [
        ("sketch", "simp", "1")
    ]
    assert (tiny["profile"], tiny["permission"]) == ("tiny", None)
    assert [model["path"] for model in tiny["models"]] == ["tiny/generator", "tiny/translator"]


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["--generator", "nobody"], "there are narrow/1, small/1, star/1, star/2, tiny", 2),
        (["--generator", "star/3"], "no generator model 'star/3'", 2),
        (["--generator", "../tiny"], "no generator model '../tiny'", 2),
        (["--quality", "tiny"], "no quality model 'tiny'; there are bad/1, mine/1, odd/1", 2),
        (["--quality", "odd"], "is a sketch model, not one for quality", 2),
        (["--quality", "bad"], "has changed", 1),
        (["--quality", "mine", "--quality", "mine/1"], "could not tell them apart", 2),
        (["--generator", "small", "--translator", "tiny"], "decoder has size 64, the generator 32", 2),
        (["--generator", "narrow", "--translator", "tiny"], "style_dim 100, the generator 64", 2),
        (["--segmentation", "other"], "in the order 'voc'", 1),
        (["--segmentation", "few"], "tells 11 classes apart", 1),
        (["--sketch", "simp"], "profile create … --permission TEXT", 2),
        (["--sketch", "simp", "--permission", " "], "--permission is empty", 2),
        ([], "at least one model", 2),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_in_one_line(
    store: Path, faceloom: Commands, arguments: list[str], says: str, code: int
) -> None:
    before = files(store)

    ended, output, errors = faceloom("profile", "create", "full", *arguments)

    assert (ended, output) == (code, "")
    assert says in errors
    assert errors.startswith("faceloom: ") and errors.count("\n") == 1
    assert files(store) == before


@pytest.mark.parametrize(
    "name", ["tiny", "models", "../full", ".full", "a b", "", "a/b", "n" * 300]
)
def test_a_name_that_is_taken_or_unsafe_is_refused(
    store: Path, faceloom: Commands, name: str
) -> None:
    before = files(store.parent)

    code, output, errors = faceloom("profile", "create", "--generator", "star", "--", name)

    assert (code, output) == (2, "")
    assert errors.startswith("faceloom: ") and errors.count("\n") == 1
    assert files(store.parent) == before


def test_the_generator_that_counts_for_translators_is_the_first(
    store: Path, faceloom: Commands
) -> None:
    given = ["--translator", "tiny", "--generator", "star", "--generator", "small"]

    assert faceloom("profile", "create", "fits", *given)[0] == 0
    assert faceloom("profile", "create", "other-order", "--segmentation", "parsing")[0] == 0


def test_a_name_means_the_latest_import_and_then_a_profile(store: Path) -> None:
    put_import(store, "generator", "star", "10")
    assert named_model("generator", "star") == store / "models/generator/star/10"
    assert named_model("generator", "star/2") == store / "models/generator/star/2"
    assert named_model("generator", "tiny") == store / "tiny/generator"

    put_import(store, "generator", "tiny")
    assert named_model("generator", "tiny") == store / "models/generator/tiny/1"
    assert named_model("translator", "tiny") == store / "tiny/translator"
    with pytest.raises(UsageError, match="brings one in"):
        named_model("losses", "alex")


def package(faceloom: Commands, store: Path, profile: str) -> tuple[int, str, str]:
    return faceloom("models", "package", "--profile", profile, "--out", str(store.parent / "mar"))


def test_a_model_that_asks_for_permission_is_packaged_only_with_it(
    store: Path, faceloom: Commands
) -> None:
    put_model(store / "own" / "sketch", "sketch", license=WASEDA)
    faceloom("profile", "create", "lab", "--sketch", "own", "--permission", PERMISSION)

    refused = package(faceloom, store, "own")
    assert refused[0] == 2 and "faceloom profile create … --permission" in refused[2]
    assert refused[2].count("\n") == 1
    assert not (store.parent / "mar").exists()
    assert package(faceloom, store, "lab")[0] == 0
    assert (store.parent / "mar" / "sketch.mar").is_file()


def test_a_model_that_is_gone_or_changed_is_not_packaged(store: Path, faceloom: Commands) -> None:
    faceloom("profile", "create", "full", "--quality", "mine", "--generator", "star")
    folder = store / "models/quality/mine/1"

    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").write_bytes(b"w3ights")
    changed = package(faceloom, store, "full")
    folder.rename(store / "elsewhere")
    gone = package(faceloom, store, "full")

    assert changed[0] == 1 and "has changed" in changed[2]
    assert gone[0] == 2 and "models/quality/mine/1, which is not in" in gone[2]
    assert changed[2].count("\n") == gone[2].count("\n") == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": {"quality": []}}', '{"models": 1}'])
def test_a_profile_that_makes_no_sense_is_one_line(
    store: Path, faceloom: Commands, text: str
) -> None:
    (store / "full").mkdir()
    (store / "full" / "profile.json").write_text(text)

    code, _, errors = package(faceloom, store, "full")

    assert code == 1
    assert "profile.json is not a profile" in errors and errors.count("\n") == 1


@pytest.mark.parametrize("name", ["other", "few"])
def test_classes_that_are_not_known_are_not_loaded_either(store: Path, name: str) -> None:
    handler = service("segmentation").new_handler()

    with pytest.raises(BrokenModel, match="classes"):
        handler.load(store / "models" / "segmentation" / name / "1", "cpu")


def test_what_was_imported_is_no_profile(store: Path) -> None:
    with pytest.raises(UsageError, match="holds no model"):
        read_profile("models")


def test_a_trained_filter_does_not_replace_a_model_that_others_use(
    store: Path, faceloom: Commands, tmp_path: Path
) -> None:
    assert faceloom("profile", "create", "mine", "--quality", "mine")[0] == 0
    before = files(store)

    code, _, errors = faceloom(
        "train", "quality", "--labels", "l.jsonl", "--dataset", str(tmp_path), "--out", "out",
        "--profile", "mine", "--store",
    )  # fmt: skip

    assert (code, errors.count("\n")) == (2, 1)
    assert "models/quality/mine/1 with others; leave --store out" in errors
    assert files(store) == before
