"""A translation is what encoder and decoder make of the picture, however the picture is sent."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from tests import samples
from tests.translators import (
    asked,
    assert_shows,
    bytes_of,
    labels8,
    layout,
    loaded,
    map_of,
    refusal,
    results,
    translate,
    w_plus_of,
)

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import InvalidArgument
from faceloom.core.images import decode_rgb
from faceloom.layouts.labels import CELEBA_TO_BISENET, colourise, encode_png
from faceloom.runtime.handler import AnyHandler
from faceloom.translator.conditions import layout_tensor, sketch_tensor
from faceloom.translator.model import Translator
from faceloom.translator.v1 import translator_pb2 as pb


def test_a_sketch_becomes_what_encoder_and_decoder_make_of_it(
    translator: AnyHandler, translator_network: Translator
) -> None:
    (made,) = translate(translator, return_latents=True)

    with torch.inference_mode():
        offsets = translator_network.encoders["sketch"](sketch_tensor(samples.page(), 64)[None])
    want = (offsets + translator_network.decoder.latent_avg).numpy()[0]
    assert np.array_equal(w_plus_of(made), want)
    assert (made.image.format, made.image.width, made.image.height) == (
        image_pb2.IMAGE_FORMAT_RGB8, 64, 64,
    )  # fmt: skip
    assert_shows(made, translator_network, want)


def test_a_layout_becomes_what_encoder_and_decoder_make_of_it(
    translator: AnyHandler, translator_network: Translator
) -> None:
    (made,) = translate(translator, layout=map_of(labels8(layout())), return_latents=True)

    with torch.inference_mode():
        want = translator_network.w_plus("segmentation", layout_tensor(layout(), 64)[None]).numpy()[
            0
        ]
    assert np.array_equal(w_plus_of(made), want)
    assert_shows(made, translator_network, want)


def test_another_picture_is_another_face(translator: AnyHandler) -> None:
    sketches = [
        translate(translator, sketch=samples.raw(samples.page(n)))[0].image.data for n in range(4)
    ]
    layouts = [
        translate(translator, layout=map_of(labels8(layout(n))))[0].image.data for n in range(4)
    ]

    assert len({*sketches, *layouts}) == 8


def test_the_same_request_is_the_same_bytes(
    translator: AnyHandler, translator_folder: Path
) -> None:
    # pixel2style2pixel draws its styles unseeded.
    request = asked(variants=3, style_seed=7, return_latents=True)

    (first,), (again,) = results(translator, request), results(translator, request)
    (elsewhere,) = results(loaded(translator_folder), request)

    assert isinstance(first, pb.TranslateResponse)
    assert first.SerializeToString() == again.SerializeToString()  # type: ignore[union-attr]
    assert first.SerializeToString() == elsewhere.SerializeToString()  # type: ignore[union-attr]


def test_latents_are_answered_only_when_asked_for(translator: AnyHandler) -> None:
    assert all(not made.w_plus for made in translate(translator, variants=2, style_seed=1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_shows_the_same_face(translator: AnyHandler, kind: str) -> None:
    (raw,) = translate(translator)
    (file,) = translate(translator, output_format=f"IMAGE_FORMAT_{kind}")

    difference = np.abs(decode_rgb(raw.image, "f").astype(int) - decode_rgb(file.image, "f"))
    assert difference.max() == 0 if kind == "PNG" else difference.mean() < 12


def test_label_orders_name_the_same_classes(translator: AnyHandler) -> None:
    ids = layout()

    (celeba,) = translate(translator, layout=map_of(labels8(ids)))
    (bisenet,) = translate(
        translator, layout=map_of(labels8(CELEBA_TO_BISENET[ids]), pb.LABEL_ORDER_BISENET)
    )
    (mistaken,) = translate(translator, layout=map_of(labels8(ids), pb.LABEL_ORDER_BISENET))

    assert celeba.image.data == bisenet.image.data
    assert celeba.image.data != mistaken.image.data


def test_colours_name_classes_whatever_the_order_of_ids(translator: AnyHandler) -> None:
    ids = layout()
    colours = samples.file(colourise(ids))

    faces = {
        translate(translator, layout=map_of(image, order))[0].image.data
        for image, order in (
            (labels8(ids), pb.LABEL_ORDER_CELEBAMASK_HQ),
            (colours, pb.LABEL_ORDER_CELEBAMASK_HQ),
            (colours, pb.LABEL_ORDER_BISENET),
        )
    }

    assert len(faces) == 1


def test_a_palette_in_another_order_than_is_said_is_refused(translator: AnyHandler) -> None:
    palette = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=encode_png(layout()))

    error = refusal(translator, layout=map_of(palette, pb.LABEL_ORDER_BISENET))

    assert error.field == "layout.order"
    assert "in CelebAMask-HQ's order" in error.message


def test_a_layout_is_the_same_in_every_format(translator: AnyHandler) -> None:
    ids = layout()
    palette = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=encode_png(ids))

    faces = {
        translate(translator, layout=map_of(image))[0].image.data
        for image in (labels8(ids), samples.raw(ids), samples.file(ids), palette)
    }

    assert len(faces) == 1


def test_ids_are_never_averaged(translator: AnyHandler, translator_network: Translator) -> None:
    # pixel2style2pixel resizes them bilinearly. Pillow's NEAREST is somebody else's idea of nearest.
    random = np.random.RandomState(3)
    ids = random.randint(0, 19, (50, 50)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    small = np.asarray(PilImage.fromarray(ids).resize((64, 64), PilImage.Resampling.NEAREST))
    one_hot = np.eye(19, dtype=np.float32)[small].transpose(2, 0, 1)

    (made,) = translate(translator, layout=map_of(labels8(ids)), return_latents=True)

    with torch.inference_mode():
        want = translator_network.w_plus("segmentation", torch.from_numpy(one_hot.copy())[None])[
            0
        ].numpy()
    np.testing.assert_allclose(w_plus_of(made), want, rtol=1e-5, atol=1e-5)


def sketches() -> dict[str, tuple[image_pb2.Image, image_pb2.Image]]:
    """Two ways to send the same drawing, by name."""
    grey = samples.page()
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    ink = np.zeros((256, 256, 2), np.uint8)
    ink[:, :, 1] = 255 - grey
    bilevel = np.where(grey < 128, 0, 255).astype(np.uint8)
    cmyk = PilImage.fromarray(colour).convert("CMYK")
    plain = samples.raw(grey)
    return {
        "PNG": (samples.file(grey), plain),
        "raw colour": (samples.raw(colour), plain),
        "colour PNG": (samples.file(colour), plain),
        "16 bit PNG": (samples.file(PilImage.fromarray(grey.astype(np.uint16) * 257)), plain),
        "1 bit PNG": (samples.file(PilImage.fromarray(bilevel).convert("1")), samples.raw(bilevel)),
        "palette PNG": (samples.file(PilImage.fromarray(grey).convert("P")), plain),
        "lossless WebP": (samples.file(colour, "WEBP", lossless=True), plain),
        "ink on nothing": (samples.file(PilImage.fromarray(ink, "LA")), plain),
        "CMYK JPEG": (
            samples.file(cmyk, "JPEG", quality=100),
            samples.raw(decode_rgb(samples.file(cmyk, "JPEG", quality=100), "f")),
        ),
    }


@pytest.mark.parametrize("name", sketches())
def test_a_drawing_is_the_same_in_every_format(translator: AnyHandler, name: str) -> None:
    one, other = sketches()[name]

    assert bytes_of(translate(translator, sketch=one)) == bytes_of(
        translate(translator, sketch=other)
    )


def test_a_cmyk_drawing_is_nearly_the_drawing(translator: AnyHandler) -> None:
    decoded = decode_rgb(sketches()["CMYK JPEG"][0], "f")[:, :, 0]

    assert np.abs(decoded.astype(int) - samples.page()).mean() < 3


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (1000, 700), (2048, 2048)])
def test_a_drawing_may_have_any_size(translator: AnyHandler, size: tuple[int, int]) -> None:
    (made,) = translate(translator, sketch=samples.raw(samples.page(1, *size)))

    assert (made.image.width, made.image.height) == (64, 64)


def test_every_call_of_a_batch_is_answered_in_its_place(translator: AnyHandler) -> None:
    # pixel2style2pixel drops what does not fill its last batch.
    requests = [
        asked(sketch=samples.raw(samples.page(1)), variants=3, style_seed=1),
        asked(layout=map_of(labels8(layout()))),
        asked(sketch=samples.raw(samples.page(2))),
    ]
    apart = [results(translator, request)[0] for request in requests]

    assert results(translator, *requests) == apart
    assert results(translator, *reversed(requests)) == apart[::-1]


def test_a_bad_call_fails_alone(translator: AnyHandler) -> None:
    good = asked(variants=2, style_seed=1)
    (alone,) = results(translator, good)

    first, bad, second = results(translator, good, asked(variants=2), good)

    assert first == second == alone
    assert isinstance(bad, InvalidArgument)
