"""Checkpoints that are not exactly a pixel2style2pixel that can be served are refused, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.reference import psp, stylegan2
from tests.translator_data import write_generator
from tests.translators import write_model

from faceloom.checkpoints.import_result import Answers
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.core.errors import UsageError
from faceloom.translator.checkpoint import FORMATS

Damage = Callable[[dict[str, Any]], object]

DIM = 12


@pytest.fixture
def content() -> dict[str, Any]:
    """Of a file that would be read: six styles for 16 pixels."""
    decoder = stylegan2.random_network([8, 6, 4], DIM, 2)
    encoder = psp.random_encoder(1, 6, DIM)
    return psp.checkpoint(psp.PSp(encoder, decoder, decoder.w_avg.expand(6, -1)))


def refused(content: Any, folder: Path, reason: str) -> None:
    """In one line that begins with the file."""
    torch.save(content, folder / "psp.pt")
    with pytest.raises(RefusedFile) as caught:
        FORMATS["psp"](folder / "psp.pt", Answers())
    message = str(caught.value)
    assert message.startswith(str(folder / "psp.pt")) and "\n" not in message
    assert reason in message


def drop(name: str) -> Damage:
    return lambda content: content["state_dict"].pop(name)


def put(name: str, value: Any) -> Damage:
    return lambda content: content["state_dict"].update({name: value})


def say(**options: Any) -> Damage:
    return lambda content: content["opts"].update(options)


def mean(value: Any) -> Damage:
    return lambda content: content.update(latent_avg=value)


def without(pattern: str) -> Damage:
    """No tensor whose name has this in it."""

    def damage(content: dict[str, Any]) -> None:
        state = content["state_dict"]
        content["state_dict"] = {name: state[name] for name in state if pattern not in name}

    return damage


zeros = torch.zeros

DAMAGES: dict[str, tuple[Damage, str]] = {
    "into W": (
        say(encoder_type="BackboneEncoderUsingLastLayerIntoW"),
        "has an encoder of type BackboneEncoderUsingLastLayerIntoW; only GradualStyleEncoder and Enc",
    ),
    "ReStyle": (
        say(encoder_type="ProgressiveBackboneEncoder"),
        "is a ReStyle encoder (ProgressiveBackboneEncoder); only",
    ),
    "ReStyle by its tensors": (
        put("encoder.input_layer.0.weight", zeros(6, 6, 3, 3)),
        "is a ReStyle encoder, which sees its own last face beside the picture",
    ),
    "ReStyle on ResNet": (
        put("encoder.conv1.weight", zeros(64, 6, 7, 7)),
        "is a ReStyle encoder, which sees its own last face beside the picture",
    ),
    "e4e of another size": (
        say(encoder_type="Encoder4Editing", stylegan_size=1024),
        "says that stylegan_size is 1024; by its tensors it is 16",
    ),
    "learned in W": (say(learn_in_w=True), "was trained in W (learn_in_w)"),
    "odd type": (say(encoder_type={"a": 1}), "has a dict where networks have a number or a word"),
    "no options": (lambda content: content.update(opts=[1]), "has opts that are no options"),
    "another size": (
        say(output_size=1024),
        "says that output_size is 1024; by its tensors it is 16",
    ),
    "another input": (say(input_nc=19), "says that input_nc is 19; by its tensors it is 1"),
    "another depth": (say(n_styles=18), "says that n_styles is 18; by its tensors it is 6"),
    "no mean": (
        lambda content: content.pop("latent_avg"),
        "adds latent_avg to its codes, but has none",
    ),
    "no mean and no word": (
        lambda content: (content.pop("latent_avg"), content.pop("opts")),
        "has no latent_avg, which codes are counted from, and no opts that say they are not",
    ),
    "means": (mean(zeros(5, DIM)), "latent_avg is [5, 12], not [6, 12] or [12]"),
    "short mean": (mean(zeros(DIM - 1)), "latent_avg is [11], not [6, 12] or [12]"),
    "word for a mean": (mean("x"), "has latent_avg, which is no floating-point tensor"),
    "whole mean": (mean(zeros(DIM, dtype=torch.int64)), "latent_avg, which is no floating-point"),
    "missing": (drop("encoder.latlayer1.bias"), "no encoder.latlayer1.bias"),
    "missing input": (drop("encoder.input_layer.0.weight"), "no encoder.input_layer.0.weight"),
    "missing statistics": (
        drop("encoder.body.2.res_layer.4.running_var"),
        "no encoder.body.2.res_layer.4.running_var",
    ),
    "missing style": (without("styles.2."), "no encoder.styles.2.convs.0.bias"),
    "missing last style": (without("styles.5."), "has 5 styles, for a decoder of 6 layers"),
    "missing first style": (without("styles.0."), "has no encoder.styles.0.linear.weight"),
    "missing unit": (without("body.1.shortcut"), "has a body of 3 widths"),
    "no encoder": (without("encoder."), "has a body of 1 widths"),
    "missing in the decoder": (
        drop("decoder.convs.1.conv.modulation.weight"),
        "no decoder.convs.1.conv.modulation.weight",
    ),
    "missing noise": (drop("decoder.noises.noise_2"), "no decoder.noises.noise_2"),
    "extra": (put("encoder.body.0.x", zeros(1)), "encoder.body.0.x left over"),
    "extra in the decoder": (put("decoder.x", zeros(1)), "decoder.x left over"),
    "extra part": (put("discriminator.x", zeros(1)), "has discriminator.x, which is of no encoder"),
    "misshapen": (
        put("encoder.latlayer2.weight", zeros(12, 9, 1, 1)),
        "encoder.latlayer2.weight is [12, 9, 1, 1], not [12, 8, 1, 1]",
    ),
    "misshapen in the decoder": (
        put("decoder.to_rgbs.0.bias", zeros(3)),
        "decoder.to_rgbs.0.bias is [3], not [1, 3, 1, 1]",
    ),
    "no axis": (
        put("encoder.input_layer.0.weight", zeros(())),
        "has encoder.input_layer.0.weight in the shape []",
    ),
    "whole numbers": (
        put("encoder.latlayer1.bias", zeros(12, dtype=torch.int64)),
        "has encoder.latlayer1.bias, which is no tensor of floating-point numbers",
    ),
    "no tensor": (put("encoder.latlayer1.bias", 1), "encoder.latlayer1.bias, which is no tensor"),
    "another filter": (
        put("decoder.to_rgbs.0.upsample.kernel", torch.ones(4, 4) / 4),
        "another filter than [1, 3, 3, 1]: decoder.to_rgbs.0.upsample.kernel",
    ),
    "two channels": (
        put("encoder.input_layer.0.weight", zeros(6, 2, 3, 3)),
        "takes pictures of 2 channels; there are 1 (sketch), 19 (segmentation), 3 (face)",
    ),
    "another length": (
        lambda content: content["state_dict"].update(
            {f"encoder.styles.{i}.linear.weight": zeros(13, 13) for i in range(6)}
        ),
        "has styles of 13, for a decoder of 12",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_refused(content: dict[str, Any], tmp_path: Path, damage: Damage, reason: str) -> None:
    damage(content)

    refused(content, tmp_path, reason)


@pytest.mark.parametrize("saved", [[1], {}, {"state_dict": [1]}, 5])
def test_what_is_no_checkpoint(saved: Any, tmp_path: Path) -> None:
    refused(saved, tmp_path, "state dict")


def test_a_decoder_is_in_the_file_or_named(content: dict[str, Any], tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "generator")
    torch.save(content, tmp_path / "psp.pt")
    read = FORMATS["psp"]

    with pytest.raises(UsageError, match="has a decoder of its own; leave --decoder out"):
        read(tmp_path / "psp.pt", Answers(decoder=generator))

    without("decoder.")(content)
    torch.save(content, tmp_path / "psp.pt")
    with pytest.raises(UsageError, match="has no decoder; name the imported generator"):
        read(tmp_path / "psp.pt", Answers())
    # One of 32 pixels.
    with pytest.raises(RefusedFile, match="has 6 styles, for a decoder of 8 layers"):
        read(tmp_path / "psp.pt", Answers(decoder=generator))
    translator = write_model(tmp_path / "translator", ("sketch",))
    with pytest.raises(UsageError, match=r"--decoder: .* is a model of the translator service"):
        read(tmp_path / "psp.pt", Answers(decoder=translator))
