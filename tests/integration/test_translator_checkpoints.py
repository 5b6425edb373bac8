"""Checkpoints of pixel2style2pixel make the w+ and the faces that an independent implementation makes of the
same numbers."""

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from tests.reference import psp as plain
from tests.reference import stylegan2
from tests.reference.psp import PSp
from tests.reference.stylegan2_files import rosinality_converted
from tests.translators import loaded, results
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.importer import import_model
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import UsageError
from faceloom.core.images import decode_rgb, encode
from faceloom.store.model import open_model
from faceloom.stylegan2.latents import z_of
from faceloom.translator.checkpoint import FORMATS
from faceloom.translator.model import Translator, load_translator, state_of
from faceloom.translator.v1 import translator_pb2 as pb

Change: TypeAlias = Callable[[dict[str, Any]], object]

SIDE, DIM = 64, 16
# Channels of the pictures, by task; each with another size of the published decoders, in small widths.
TASKS = {"sketch": (1, 1024), "segmentation": (19, 256), "face": (3, 512)}
LAYERS = {256: 14, 512: 16, 1024: 18}
# The recommendations of pixel2style2pixel's authors for style mixing.
MIXED = {256: [*range(8, 14)], 512: [*range(8, 16)], 1024: [*range(8, 18)]}


def random_psp(channels: int, size: int, starts: bool = True) -> PSp:
    levels = size.bit_length() - 2
    decoder = stylegan2.random_network([12, 10, 8, 6, 4, 4, 2, 2, 2][:levels], DIM, 8, seed=size)
    encoder = plain.random_encoder(channels, 2 * levels, DIM, SIDE, seed=channels)
    start = decoder.w_avg.expand(2 * levels, -1).clone() if starts else None
    return PSp(encoder, decoder, start)


def small_psp(starts: bool = True) -> PSp:
    return random_psp(1, 64, starts)


def read(content: dict[str, Any], folder: Path, answers: Answers | None = None) -> Imported:
    torch.save(content, folder / "psp.pt")
    return FORMATS["psp"](folder / "psp.pt", answers or Answers())


def translator_of(found: Imported) -> Translator:
    translator = Translator(**json.loads(json.dumps(found.network)))
    translator.load_state_dict(state_of(found.weights), strict=True)
    return translator.eval()


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-4 of the range of the output."""
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max() <= 1e-4 * (theirs.max() - theirs.min())


@torch.inference_mode()
def assert_translates(translator: Translator, net: PSp, task: str, pictures: Tensor) -> None:
    """To the w+ and the faces of the independent implementation."""
    w_plus = translator.w_plus(task, pictures)
    faces = translator.decoder.synthesis(w_plus)
    theirs = [plain.w_plus_of(net, picture) for picture in pictures]
    assert_near(w_plus, torch.stack(theirs))
    assert_near(faces, torch.stack([plain.face_of(net, code) for code in theirs]))


def pictures(task: str, count: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(7)
    if task == "segmentation":
        ids = torch.randint(19, (count, SIDE, SIDE), generator=random)
        return torch.nn.functional.one_hot(ids, 19).permute(0, 3, 1, 2).float()
    return torch.rand(count, TASKS[task][0], SIDE, SIDE, generator=random).round()


@pytest.mark.parametrize("task", TASKS)
def test_an_imported_checkpoint_translates_as_its_own_code_does(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    channels, size = TASKS[task]
    net = random_psp(channels, size)
    torch.save(plain.checkpoint(net), tmp_path / "psp.pt")

    model = import_model("translator", "psp", tmp_path / "psp.pt", "mine", "NC", Answers())

    shown = {"way": "upstream"} | ({"order": "celebamask_hq"} if task == "segmentation" else {})
    assert model.options == {
        "mixed_layers": MIXED[size], "psi": 1.0, "preprocessing": {task: shown}
    }  # fmt: skip
    assert model.network["encoders"] == {
        task: {
            "input_nc": channels, "n_styles": LAYERS[size], "style_dim": DIM, "side": SIDE,
            "blocks": [1, 2, 3, 1], "widths": [6, 8, 10, 12],
        }
    }  # fmt: skip
    assert model.network["decoder"]["size"] == size and model.network["decoder"]["n_mlp"] == 8
    translator = load_translator(open_model(model.folder), "cpu")
    assert torch.equal(translator.decoder.latent_avg, net.decoder.w_avg)
    # One is enough at the largest size, which takes a while to decode slowly.
    assert_translates(translator, net, task, pictures(task, 2 if size < 1024 else 1))


def test_a_served_face_takes_its_style_as_published_style_mixing_does(tmp_path: Path) -> None:
    """A z that is not truncated takes over the fine layers, by a share."""
    store = tmp_path / "translator"
    net = random_psp(3, 256)
    torch.save(plain.checkpoint(net), tmp_path / "psp.pt")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FACELOOM_MODEL_STORE", str(store))
        model = import_model("translator", "psp", tmp_path / "psp.pt", "mine", "NC", Answers())
    pixels = np.random.RandomState(0).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)

    request = pb.TranslateRequest(
        face=encode(pixels, image_pb2.IMAGE_FORMAT_RGB8), style_seed=5, alpha=0.75,
        return_latents=True,
    )  # fmt: skip
    (answer,) = results(loaded(model.folder), request)

    assert isinstance(answer, pb.TranslateResponse), answer
    (made,) = answer.translations
    code = plain.w_plus_of(net, torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1)
    style = stylegan2.mapping(net.decoder, torch.from_numpy(z_of(5, DIM)))
    for layer in MIXED[256]:
        code[layer] = 0.75 * style + 0.25 * code[layer]
    assert_near(torch.tensor(made.w_plus).view(14, DIM), code)
    theirs = (plain.face_of(net, code).permute(1, 2, 0) * 127.5 + 128).clamp(0, 255).byte()
    ours = decode_rgb(made.image, "image").astype(int)
    assert np.abs(ours - theirs.numpy()).max() <= 1
    assert ours.std() > 10


@pytest.mark.parametrize("shape", [(10, DIM), (1, DIM), (DIM,)])
def test_a_mean_latent_of_any_published_shape_is_added(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    net = small_psp()
    content = plain.checkpoint(net)
    content["latent_avg"] = net.decoder.w_avg.expand(shape).clone()

    found = read(content, tmp_path)

    assert_translates(translator_of(found), net, "sketch", pictures("sketch"))
    # Nothing is computed, so not a bit is lost.
    written = content["state_dict"]
    for name, tensor in found.weights.items():
        if name != "decoder.latent_avg":
            assert torch.equal(tensor, written[name.replace("sketch.", "encoder.")])
            assert tensor.dtype == written[name.replace("sketch.", "encoder.")].dtype
    assert not any("biases" in note for note in found.notes)


@pytest.mark.parametrize("kept", [False, True])
def test_codes_that_are_latents_themselves_stay_what_they_are(kept: bool, tmp_path: Path) -> None:
    net = small_psp(starts=False)
    content = plain.checkpoint(net)
    if kept:
        content["latent_avg"] = net.decoder.w_avg.clone()

    found = read(content, tmp_path)

    translator = translator_of(found)
    assert_translates(translator, net, "sketch", pictures("sketch"))
    assert any("biases of its style heads" in note for note in found.notes)
    # Truncation still needs the decoder's own mean.
    if kept:
        assert torch.equal(translator.decoder.latent_avg, net.decoder.w_avg)
    else:
        z = torch.randn(2000, DIM, generator=torch.Generator().manual_seed(1))
        w = torch.stack([stylegan2.mapping(net.decoder, each) for each in z])
        error = (translator.decoder.latent_avg - w.mean(0)).abs() / w.std(0)
        assert error.max() < 5 / 2000**0.5


def test_latents_that_differ_by_layer_are_all_added(tmp_path: Path) -> None:
    net = small_psp()
    net.start = torch.randn(10, DIM, generator=torch.Generator().manual_seed(3))

    found = read(plain.checkpoint(net), tmp_path)

    assert_translates(translator_of(found), net, "sketch", pictures("sketch"))
    assert any("mean of 100,000 mapped latents" in note for note in found.notes)


@pytest.mark.parametrize("width", [32, 128])
def test_sizes_are_read_from_the_tensors(width: int, tmp_path: Path) -> None:
    """Of another side, depth and width, with options that do not tell them."""
    decoder = stylegan2.random_network([8, 6, 4], 12, 2)
    encoder = plain.random_encoder(1, 6, 12, width, (2, 1, 1, 2), (4, 6, 12, 8))
    net = PSp(encoder, decoder, decoder.w_avg.expand(6, -1))
    content = plain.checkpoint(net)
    content["opts"] = {}

    found = read(content, tmp_path)

    assert found.network["encoders"]["sketch"]["side"] == width
    picture = torch.rand(1, 1, width, width, generator=torch.Generator().manual_seed(1))
    assert_translates(translator_of(found), net, "sketch", picture)


def test_options_may_be_a_namespace_and_the_file_of_the_old_format(tmp_path: Path) -> None:
    net = small_psp()
    content = plain.checkpoint(net)
    content["opts"] = Namespace(**content["opts"])
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)

    found = FORMATS["psp"](tmp_path / "old.pt", Answers())

    assert_translates(translator_of(found), net, "sketch", pictures("sketch"))
    assert "It was trained for `celebs_sketch_to_face`." in found.notes


def test_an_encoder_alone_takes_an_imported_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELOOM_MODEL_STORE", str(tmp_path))
    net = small_psp()
    torch.save(rosinality_converted(net.decoder), tmp_path / "g.pt")
    decoder = import_model("generator", "rosinality", tmp_path / "g.pt", "g", "NC", Answers())
    content = plain.checkpoint(net)
    content["state_dict"] = {
        name: tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith("encoder.")
    }
    # Of another estimate of the same mean.
    content["latent_avg"] += 0.01

    found = read(content, tmp_path, Answers(decoder=decoder.folder))

    net.start = content["latent_avg"]
    translator = translator_of(found)
    assert_translates(translator, net, "sketch", pictures("sketch"))
    assert torch.equal(translator.decoder.latent_avg, net.decoder.w_avg)
    assert "Its decoder is the generator g, version 1: NC." in found.notes


EDITING = random_psp(3, 64)
EDITING.editing = True

# What tells that an encoder of faces is encoder4editing's.
TOLD: dict[str, tuple[Change, str | None]] = {
    "options": (lambda content: None, None),
    "training": (lambda content: content.update(opts={}, discriminator_state_dict={"a": 1}), None),
    "person": (lambda content: content.pop("opts"), "e4e"),
}


@pytest.mark.parametrize(
    ("told", "starts"),
    [
        ("options", True),
        ("options", False),
        ("training", True),
        ("training", False),
        ("person", True),
    ],
)
def test_encoders_for_editing(told: str, starts: bool, tmp_path: Path) -> None:
    """Told by the options, by what only their trainer keeps, or by a person."""
    net = replace(EDITING, start=EDITING.start if starts else None)
    content = plain.checkpoint(net)
    change, encoder = TOLD[told]
    change(content)
    if "opts" in content and not starts:
        content["opts"]["start_from_latent_avg"] = False

    found = read(content, tmp_path, Answers(encoder=encoder))

    assert found.network["encoders"]["face"]["deltas"] is True
    assert_translates(translator_of(found), net, "face", pictures("face"))
    assert any("encoder4editing" in note for note in found.notes)


def test_whose_an_encoder_of_faces_is_has_to_be_known(tmp_path: Path) -> None:
    content = plain.checkpoint(random_psp(3, 64))
    read(content, tmp_path, Answers(encoder="psp"))

    with pytest.raises(UsageError, match=r"psp\.pt has an encoder of psp, not of e4e; leave"):
        read(content, tmp_path, Answers(encoder="e4e"))
    del content["opts"]
    with pytest.raises(UsageError, match=r"psp\.pt does not say .* --encoder psp or --encoder e4e"):
        read(content, tmp_path)

    found = read(content, tmp_path, Answers(encoder="psp"))

    assert_translates(translator_of(found), random_psp(3, 64), "face", pictures("face"))
    # Of drawings there are only pixel2style2pixel's.
    drawn = plain.checkpoint(small_psp())
    del drawn["opts"]
    assert "deltas" not in read(drawn, tmp_path).network["encoders"]["sketch"]


def test_the_card_tells_what_a_label_map_stands_for(tmp_path: Path) -> None:
    notes = " ".join(read(plain.checkpoint(random_psp(19, 64)), tmp_path).notes)

    assert "CelebAMask-HQ's order" in notes
    assert "resized bilinearly" in notes
    assert "non-commercial" in notes
