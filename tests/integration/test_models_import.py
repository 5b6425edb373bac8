"""Published checkpoints become models of the store, by the command."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands import Done, faceloom
from tests.published import (
    FILES,
    NVIDIA,
    Published,
    psp_of,
    random_psp,
    rosinality,
    timm,
    timm_bare,
)
from tests.reference.psp import checkpoint
from tests.reference.stylegan2_files import rosinality_converted

from faceloom.checkpoints.importer import formats
from faceloom.core.errors import InvalidArgument
from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.service import service
from faceloom.store.model import BrokenModel, open_model
from faceloom.training.translator.weight_files import read_weights


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """Importing sets their number for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Import:
    """A file that was imported."""

    published: Published
    file: Path
    store: Path
    done: Done

    @property
    def folder(self) -> Path:
        return self.store / "models" / self.published.kind / "mine" / "1"

    @property
    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "model.json").read_text())
        return found


@pytest.fixture(scope="module", params=FILES, ids=lambda each: f"{each.kind}-{each.file}")
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Import:
    published: Published = request.param
    folder = tmp_path_factory.mktemp("published")
    file = folder / published.file
    published.write(file, 0)
    store = folder / "store"
    return Import(published, file, store, faceloom(*published.command, file, store=store))


def written(folder: Path) -> Path:
    """A generator's file."""
    FILES[0].write(folder / "faces.pt", 0)
    return folder / "faces.pt"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_format_is_tried() -> None:
    kinds = ("generator", "quality", "sketch", "segmentation", "translator", "losses")

    assert {(each.kind, each.form) for each in FILES} == {
        (kind, form) for kind in kinds for form in formats(kind)
    }


def test_a_published_file_becomes_a_model(imported: Import) -> None:
    published, described = imported.published, imported.described

    assert imported.done.code == 0, imported.done.err
    assert described["network"] | published.network == described["network"]
    assert (described["name"], described["version"]) == ("mine", "1")
    assert described["weights"]["sha256"] == sha256(imported.folder / "weights.safetensors")
    assert described["sources"] == [
        {"file": published.file, "format": published.form, "sha256": sha256(imported.file)}
    ]
    limits = described.get("limits")
    if published.kind == "losses":
        assert limits is None
    else:
        assert limits["seconds_per_item"] > 0
        assert 1 <= limits["max_items"] <= service(published.kind).max_items


def test_what_a_licence_forbids_is_said(imported: Import) -> None:
    licence = imported.described["license"]
    (line,) = (line for line in imported.done.out.splitlines() if line.startswith("license"))
    card = (imported.folder / "README.md").read_text()

    assert line.startswith(f"license  {licence}")
    assert f"| licence | {line.removeprefix('license  ')} |" in card
    assert imported.described["weights"]["sha256"] in card and sha256(imported.file) in card
    restrictions = [word for word in ("non-commercial", "research only") if word in line]
    assert bool(restrictions) == imported.published.restricted


def test_a_model_that_changed_is_found_and_does_not_start(imported: Import) -> None:
    weights = imported.folder / "weights.safetensors"
    content = weights.read_bytes()
    assert faceloom("models", "verify", store=imported.store).code == 0

    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        done = faceloom("models", "verify", store=imported.store)
        assert done.code == 1 and str(weights) in done.out and done.err.count("\n") == 1
        with pytest.raises(BrokenModel, match="has changed"):
            if imported.published.kind == "losses":
                read_weights(imported.folder)
            else:
                service(imported.published.kind).new_handler().load(imported.folder, "cpu")
    finally:
        weights.write_bytes(content)


@pytest.mark.parametrize("published", FILES, ids=lambda each: f"{each.kind}-{each.file}")
def test_what_is_no_number_is_refused(published: Published, tmp_path: Path) -> None:
    file = tmp_path / published.file
    published.write(file, float("nan"))

    done = faceloom(*published.command, file, store=tmp_path / "store")

    assert done.code == 1 and done.err.count("\n") == 1
    assert f"{file}: {published.spoilt} holds NaN, infinity" in done.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), 1e39])
def test_what_float32_has_no_room_for_is_refused(number: float, tmp_path: Path) -> None:
    content = torch.load(written(tmp_path), weights_only=True)
    content["g_ema"]["conv1.conv.weight"] = content["g_ema"]["conv1.conv.weight"].double()
    content["g_ema"]["conv1.conv.weight"][0, 0, 0, 0, 0] = number
    torch.save(content, tmp_path / "faces.pt")

    done = faceloom(*FILES[0].command, tmp_path / "faces.pt", store=tmp_path)

    assert done.code == 1 and "conv1.conv.weight holds NaN, infinity or numbers bey" in done.err


def test_another_import_of_a_name_is_its_next_version(tmp_path: Path) -> None:
    file = written(tmp_path)
    done = [faceloom(*FILES[0].command, file, store=tmp_path) for _ in range(2)]

    folder = tmp_path / "models" / "generator" / "mine"
    assert [each.code for each in done] == [0, 0]
    one, two = open_model(folder / "1"), open_model(folder / "2")
    assert (one.version, two.version) == ("1", "2")
    assert one.weights == two.weights
    listed = json.loads(faceloom("models", "list", "--json", store=tmp_path).out)["models"]
    assert [model["path"] for model in listed] == [f"models/generator/mine/{n}" for n in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]


def test_a_call_may_ask_for_as_much_as_was_measured(tmp_path: Path) -> None:
    faceloom(*FILES[0].command, written(tmp_path), store=tmp_path)
    folder = tmp_path / "models" / "generator" / "mine" / "1"
    described = json.loads((folder / "model.json").read_text())
    limits = {"seconds_per_item": 7.5, "max_items": 2}
    (folder / "model.json").write_text(json.dumps(described | {"limits": limits}))
    handler = service("generator").new_handler()
    handler.load(folder, "cpu")

    assert len(handler.decode(generator_pb2.GenerateRequest(seeds=[1, 2])).samples) == 2
    with pytest.raises(InvalidArgument, match="give 1 to 2"):
        handler.decode(generator_pb2.GenerateRequest(seeds=[1, 2, 3]))


def test_an_encoder_is_imported_with_a_generator_of_the_store(tmp_path: Path) -> None:
    net = random_psp(1)
    torch.save(rosinality_converted(net.decoder), tmp_path / "g.pt")
    content = checkpoint(net)
    content["state_dict"] = {n: t for n, t in content["state_dict"].items() if "encoder." in n}
    torch.save(content, tmp_path / "psp.pt")
    command = [*FILES[0].command, tmp_path / "g.pt"]
    psp = ["--kind", "translator", "--format", "psp", "--name", "drawn", *LICENSED]

    done = [faceloom(*command, store=tmp_path)]
    for decoder in ("mine", "mine/1"):
        named = ["--decoder", decoder, tmp_path / "psp.pt"]
        done.append(faceloom("models", "import", *psp, *named, store=tmp_path))

    assert [each.code for each in done] == [0, 0, 0], done
    one, two = (open_model(tmp_path / "models" / "translator" / "drawn" / n) for n in "12")
    assert one.network["decoder"]["size"] == 16 and one.weights == two.weights


LICENSED = ("--license", NVIDIA)
REFUSALS = (
    ("generator", "nvlab", rosinality, LICENSED, "no format 'nvlab'; there are rosinality, nvl", 2),
    ("faces", "rosinality", rosinality, LICENSED, "no service 'faces'", 2),
    ("generator", "rosinality", rosinality, (), "does not say under which licence it is", 2),
    ("generator", "tensorflow", rosinality, LICENSED, "is not a pickle, but a zip file", 1),
    ("generator", "rosinality", rosinality, (*LICENSED, "--keep", "good"),
     "--keep says nothing about generator checkpoints", 2),
    ("generator", "rosinality", rosinality, (*LICENSED, "--label-order", "bisenet"),
     "--label-order says nothing about generator checkpoints", 2),
    ("quality", "timm", timm, LICENSED, "does not name them: give --classes", 2),
    ("quality", "timm", timm, (*LICENSED, "--classes", "bad,good"), "and --keep, the one to keep", 2),
    ("quality", "timm", timm, (*LICENSED, "--keep", "good"), "give --classes, in the order of", 2),
    ("quality", "timm", timm, (*LICENSED, "--classes", "bad,good,odd", "--keep", "odd"),
     "tells 2 classes apart; --classes is bad,good,odd", 2),
    ("quality", "timm", timm, (*LICENSED, "--classes", "bad,good", "--keep", "best"),
     "--keep best is none of --classes bad,good", 2),
    ("quality", "timm", timm_bare, (*LICENSED, "--classes", "bad,good", "--keep", "good"),
     "give --format timm-mixnet_s or timm-tf_mixnet_s", 2),
    ("translator", "psp", psp_of(1), (*LICENSED, "--label-order", "bisenet"),
     "takes no layouts; leave --label-order out", 2),
    ("translator", "psp", psp_of(1), (*LICENSED, "--decoder", "star"),
     "no generator model 'star'; there are none", 2),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "form", "write", "options", "told", "code"), REFUSALS)
def test_a_refused_import_leaves_nothing(
    kind: str, form: str, write: Any, options: tuple[str, ...], told: str, code: int, tmp_path: Path
) -> None:
    write(tmp_path / "file", 0)
    command = ["models", "import", "--kind", kind, "--format", form, "--name", "mine", *options]

    done = faceloom(*command, tmp_path / "file", store=tmp_path / "store")

    assert (done.code, done.out) == (code, "") and told in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_name_is_the_name_of_a_folder(tmp_path: Path) -> None:
    command = ["../star" if part == "mine" else part for part in FILES[0].command]

    done = faceloom(*command, written(tmp_path), store=tmp_path / "store")

    assert done.code == 2 and "use letters, digits" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["faces.pt"]
