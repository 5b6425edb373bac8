"""Imported encoders of one decoder become one translator, which does what each of them did."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands import Done, faceloom
from tests.published import FILES, NVIDIA, random_psp
from tests.reference import psp as plain
from tests.reference.psp import PSp
from tests.translators import loaded
from torch import Tensor

from faceloom.core.errors import UsageError
from faceloom.store.model import Model, open_model
from faceloom.translator.merge import join_models
from faceloom.translator.model import load_translator

CHANNELS = {"sketch": 1, "segmentation": 19, "face": 3}
OWN = "Licence of mine"


def bring(net: PSp, name: str, store: Path, licence: str = NVIDIA) -> Model:
    """A checkpoint in the store."""
    torch.save(plain.checkpoint(net), store / f"{name}.pt")
    command = ["--kind", "translator", "--format", "psp", "--name", name, "--license", licence]
    done = faceloom("models", "import", *command, store / f"{name}.pt", store=store)
    assert done.code == 0, done.err
    return open_model(store / "models" / "translator" / name / "1")


def join(store: Path, *arguments: str) -> Done:
    return faceloom("models", "join", *arguments, store=store)


def with_other_means(net: PSp) -> PSp:
    """An encoder whose codes are offsets from something else than those of the others."""
    assert net.start is not None
    net.start = net.start + 0.1 * torch.randn(12, generator=torch.Generator().manual_seed(1))
    return net


def for_editing(net: PSp) -> PSp:
    """The encoder is encoder4editing's, and of another mean too."""
    net.editing = True
    return with_other_means(net)


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-4 of the range of the output."""
    assert (ours - theirs).abs().max() <= 1e-4 * (theirs.max() - theirs.min())


@pytest.mark.parametrize("change", [lambda net: net, with_other_means, for_editing])
@torch.inference_mode()
def test_every_encoder_does_what_it_did(change: Callable[[PSp], PSp], tmp_path: Path) -> None:
    nets = {task: random_psp(channels) for task, channels in CHANNELS.items()}
    nets["face"] = change(nets["face"])
    for task, net in nets.items():
        bring(net, task, tmp_path, OWN if task == "face" else NVIDIA)

    done = join(tmp_path, "all", *nets)

    assert done.code == 0, done.err
    model = open_model(tmp_path / "models" / "translator" / "all" / "1")
    assert done.out.splitlines()[0] == f"model    {model.folder}"
    translator = load_translator(model, "cpu")
    assert set(translator.encoders) == set(nets)
    for task, net in nets.items():
        picture = torch.rand(CHANNELS[task], 64, 64, generator=torch.Generator().manual_seed(5))
        w_plus = translator.w_plus(task, picture[None])
        assert_near(w_plus[0], plain.w_plus_of(net, picture))
        assert_near(translator.decoder.synthesis(w_plus)[0], plain.face_of(net, w_plus[0]))
    card = (model.folder / "README.md").read_text()
    assert ("The codes of face/1 are offsets from another mean" in card) == (
        change in (with_other_means, for_editing)
    )


def test_what_a_joined_model_says_of_its_parts(tmp_path: Path) -> None:
    parts = [
        bring(random_psp(1), "lines", tmp_path),
        bring(random_psp(3), "faces", tmp_path, OWN),
        bring(random_psp(19), "layouts", tmp_path),
    ]

    done = join(tmp_path, "all", "lines", "faces/1", "layouts", "--json")
    again = join(tmp_path, "all", "layouts", "lines")

    said = json.loads(done.out)
    model = open_model(Path(said["model"]))
    assert model.license == said["license"] == f"{NVIDIA} and {OWN}"
    assert (model.name, model.version) == ("all", "1")
    shown = {task: how for part in parts for task, how in part.options["preprocessing"].items()}
    assert model.options == parts[0].options | {"preprocessing": shown}
    assert model.limits is not None
    by_part = {source["model"]: source for source in model.sources if "format" in source}
    assert {name: source["sha256"] for name, source in by_part.items()} == {
        f"{part.name}/1": part.sources[0]["sha256"] for part in parts
    }
    digests = {s["model"]: s["sha256"] for s in model.sources if "use" in s}
    assert digests == {f"{part.name}/1": part.weights.sha256 for part in parts}
    card = (model.folder / "README.md").read_text()
    assert "non-commercial" in card
    for part in parts:
        assert f"{part.name}/1" in card and part.sources[0]["sha256"] in card
    assert again.code == 0
    second = open_model(tmp_path / "models" / "translator" / "all" / "2")
    assert list(second.network["encoders"]) == ["segmentation", "sketch"]
    assert loaded(model.folder).service.max_items == model.limits.max_items


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With translators that do not belong together."""
    folder = tmp_path_factory.mktemp("store")
    bring(random_psp(1), "lines", folder)
    bring(random_psp(1), "strokes", folder)
    larger = random_psp(19, levels=4)
    bring(larger, "large", folder)
    other = random_psp(19)
    other.decoder.blocks[1].convs[0].bias[2] += 1e-3
    bring(other, "other", folder)
    return folder


REFUSALS: list[tuple[list[str], str]] = [
    (["lines"], "give two or more"),
    (["lines", "strokes"], "lines/1 and strokes/1 both have a sketch encoder"),
    (["lines", "lines"], "lines/1 and lines/1 both have a sketch encoder"),
    (["lines", "large"], "the decoders of lines/1 and large/1 differ: channels is {"),
    (
        ["lines", "other"],
        "the decoders of lines/1 and other/1 differ: decoder.convs.0.activate.bias",
    ),
    (["lines", "layouts"], "no translator model 'layouts'; there are large/1, lines/1, other/1"),
    (["lines", "other/2"], "no translator model 'other/2'"),
]


@pytest.mark.parametrize(("references", "told"), REFUSALS)
def test_what_does_not_belong_together_is_refused(
    references: list[str], told: str, store: Path
) -> None:
    done = join(store, "joined", *references)

    assert (done.code, done.out) == (2, "") and told in done.err
    assert done.err.count("\n") == 1
    assert not (store / "models" / "translator" / "joined").exists()


def test_a_name_outside_of_the_store_is_refused(store: Path) -> None:
    done = join(store, "../joined", "lines", "other")

    assert done.code == 2 and "use letters, digits" in done.err


def test_models_of_other_services_are_refused(store: Path) -> None:
    FILES[0].write(store / "g.pt", 0)
    faceloom(*FILES[0].command, store / "g.pt", store=store)
    models: Any = store / "models"

    with pytest.raises(UsageError, match="mine/1 is a model of the generator service, not a tran"):
        join_models("x", [models / "translator/lines/1", models / "generator/mine/1"])
