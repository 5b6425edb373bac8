"""What a translator refuses: every field that can be wrong, by its name and with what would be right."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from tests import samples
from tests.translators import (
    DIM,
    LAYERS,
    asked,
    labels8,
    latents,
    layout,
    loaded,
    map_of,
    refusal,
    results,
    translate,
    write_model,
)

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import FailedPrecondition, InvalidArgument
from faceloom.generator.v1 import generator_pb2 as gen
from faceloom.runtime.handler import AnyHandler
from faceloom.translator.v1 import translator_pb2 as pb


def sheet(mode: str, colour: Any) -> image_pb2.Image:
    """A PNG of one colour."""
    return samples.file(PilImage.new(mode, (64, 64), colour))


EMPTY = {
    "white": sheet("L", 255),
    "white in colour": sheet("RGB", "white"),
    "white of 16 bits": sheet("I;16", 65535),
    "white of 1 bit": sheet("1", 1),
    "nothing at all": sheet("RGBA", (0, 0, 0, 0)),
    "a JPEG of paper": samples.file(PilImage.new("L", (64, 64), 240), "JPEG"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_sheet_with_nothing_on_it_is_no_drawing(translator: AnyHandler, name: str) -> None:
    error = refusal(translator, sketch=EMPTY[name])

    assert isinstance(error, InvalidArgument) and error.field == "sketch"
    assert error.message.startswith("the sketch is empty: ")


def test_one_dark_pixel_is_a_drawing(translator: AnyHandler) -> None:
    drawing = np.full((64, 64), 255, np.uint8)
    drawing[10, 20] = 239

    assert len(translate(translator, sketch=samples.raw(drawing))) == 1


def changed(value: int) -> samples.Array:
    """A label map in which the pixel in column 20 of row 30 has that value."""
    ids = layout()
    ids[30, 20] = value
    return ids


def order(value: int) -> pb.Layout:
    """A good label map in an order of that number."""
    made = map_of(labels8(layout()))
    made.order = pb.LabelOrder.ValueType(value)
    return made


IDS = PilImage.fromarray(layout())
TEXT = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=b"my label map")
LAYOUTS: dict[str, tuple[pb.Layout, str, str]] = {
    "id 200": (map_of(labels8(changed(200))), "", "pixel (20, 30) is 200; ids are 0 to 18"),
    "id 19": (map_of(samples.file(changed(19))), "", "pixel (20, 30) is 19; ids are 0 to 18"),
    "id 255 in BiSeNet's order": (
        map_of(labels8(changed(255)), pb.LABEL_ORDER_BISENET), "", "pixel (20, 30) is 255",
    ),
    "a photograph": (map_of(samples.file(samples.face(1))), "", "is no colour of CelebAMask-HQ's"),
    "a photograph without a file": (map_of(samples.raw(samples.face(1))), "", "pixel (0, 0) is #"),
    "ids that were smoothed": (
        map_of(samples.file(IDS.resize((50, 50), PilImage.Resampling.BILINEAR))), "", "smoothed",
    ),
    "1 bit": (map_of(sheet("1", 1)), ".data", "1 bit is a drawing"),
    "a CMYK JPEG": (map_of(samples.file(IDS.convert("CMYK"), "JPEG")), ".data", "a JPEG mixes"),
    "a WebP": (map_of(samples.file(IDS.convert("RGB"), "WEBP")), ".data", "a WebP may have changed"),
    "a text": (map_of(TEXT), ".data", "this is a text file"),
    "too small": (map_of(labels8(layout()[:15, :15])), "", "15x15 pixels; sides must be 16 at"),
    "a bomb": (map_of(samples.png_bomb(30_000)), "", "30000x30000"),
    "nothing": (pb.Layout(order=pb.LABEL_ORDER_BISENET), ".format", "UNSPECIFIED is not"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_no_label_map_is_refused(translator: AnyHandler, name: str) -> None:
    bad, part, says = LAYOUTS[name]

    error = refusal(translator, layout=bad)

    assert isinstance(error, InvalidArgument) and error.field == f"layout.image{part}"
    assert says in error.message


@pytest.mark.parametrize("value", [pb.LABEL_ORDER_UNSPECIFIED, 3, -1])
def test_the_order_of_ids_has_to_be_said(translator: AnyHandler, value: int) -> None:
    error = refusal(translator, layout=order(value))

    assert isinstance(error, InvalidArgument) and error.field == "layout.order"
    assert error.message == "say CELEBAMASK_HQ or BISENET"


FACE = samples.raw(samples.face(1))
W = np.zeros(DIM)
NAN = np.full(LAYERS * DIM, math.nan)
Z, IN_W = gen.LATENT_SPACE_Z, gen.LATENT_SPACE_W
WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "variants without styles": ({"variants": 2}, "variants"),
    "variants of one reference": ({"variants": 2, "style_reference": FACE}, "variants"),
    "NaN psi": ({"style_seed": 1, "truncation_psi": math.nan}, "truncation_psi"),
    "infinite psi": ({"style_seed": 1, "truncation_psi": math.inf}, "truncation_psi"),
    "negative psi": ({"style_seed": 1, "truncation_psi": -0.1}, "truncation_psi"),
    "huge psi": ({"style_seed": 1, "truncation_psi": 1.6}, "truncation_psi"),
    "psi of nothing": ({"truncation_psi": 0.5}, "truncation_psi"),
    "psi of a reference": ({"style_reference": FACE, "truncation_psi": 0.5}, "truncation_psi"),
    "NaN alpha": ({"style_seed": 1, "alpha": math.nan}, "alpha"),
    "negative alpha": ({"style_seed": 1, "alpha": -0.1}, "alpha"),
    "huge alpha": ({"style_seed": 1, "alpha": 1.1}, "alpha"),
    "alpha of nothing": ({"alpha": 1.0}, "alpha"),
    "layers of nothing": ({"mixed_layers": [5]}, "mixed_layers"),
    "no such layer": ({"style_seed": 1, "mixed_layers": [0, LAYERS]}, "mixed_layers"),
    "a huge layer": ({"style_seed": 1, "mixed_layers": [2**32 - 1]}, "mixed_layers"),
    "a layer twice": ({"style_seed": 1, "mixed_layers": [5, 5]}, "mixed_layers"),
    "two latents for three": (
        {"variants": 3, "style_latents": latents(W, W, space=IN_W)}, "style_latents.latents",
    ),
    "no latents": ({"style_latents": latents()}, "style_latents.latents"),
    "z": ({"style_latents": latents(W, space=Z)}, "style_latents.latents[0].space"),
    "latents of no space": (
        {"style_latents": latents(W, space=0)}, "style_latents.latents[0].space",
    ),
    "a short w": (
        {"variants": 2, "style_latents": latents(W, W[1:], space=IN_W)},
        "style_latents.latents[1].values",
    ),
    "w as w+": ({"style_latents": latents(W)}, "style_latents.latents[0].values"),
    "NaN w+": ({"style_latents": latents(NAN)}, "style_latents.latents[0].values"),
    "labels as a reference": (
        {"style_reference": labels8(layout())}, "style_reference.format",
    ),
    "labels as a face": ({"face": labels8(layout())}, "face.format"),
    "labels as an answer": ({"output_format": "IMAGE_FORMAT_LABELS8"}, "output_format"),
}  # fmt: skip


@pytest.mark.parametrize("name", WISHES)
def test_a_wish_that_cannot_be_is_refused_by_its_field(translator: AnyHandler, name: str) -> None:
    fields, field = WISHES[name]

    error = refusal(translator, **fields)

    assert isinstance(error, InvalidArgument) and error.field == field
    assert error.message and "\n" not in error.message


@pytest.mark.parametrize(
    ("fields", "task"),
    [
        ({"layout": order(1)}, "segmentation"),
        ({"style_reference": FACE}, "face"),
        ({"face": FACE}, "face"),
    ],
)
def test_what_a_model_was_not_trained_for_is_said(
    tmp_path: Path, fields: dict[str, Any], task: str
) -> None:
    error = refusal(loaded(write_model(tmp_path, ("sketch",))), **fields)

    assert isinstance(error, FailedPrecondition) and error.reason == "TASK_NOT_LOADED"
    assert error.message == f"this model has no {task} encoder; it has sketch"


def test_raw_faces_that_do_not_fit_into_a_message_are_refused_before_they_are_made(
    translator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it made faces of 1024 pixels: 3 MiB each, in messages of 16 MiB.
    monkeypatch.setattr(translator._network.decoder, "size", 1024)

    error = refusal(translator, variants=6, style_seed=1)

    assert error.field == "variants" and "5 do" in error.message
    assert len(translate(translator, variants=5, style_seed=1)) == 5
    compressed = translate(translator, variants=6, style_seed=1, output_format="IMAGE_FORMAT_PNG")
    assert len(compressed) == 6


def test_enormous_latents_do_no_harm(translator: AnyHandler) -> None:
    (before,) = results(translator, asked())

    made = translate(translator, style_latents=latents(W + 3e38, space=IN_W), alpha=0.5)

    assert len(made) == 1
    assert results(translator, asked()) == [before]
