"""Pictures in every format: what is read is what was sent, and what is written is what was meant."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage
from tests import samples

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import InvalidArgument
from faceloom.core.images import (
    check_output,
    decode_grey,
    decode_rgb,
    encode,
    fit_condition,
)

FILES = ("PNG", "JPEG", "WEBP")


def as_format(kind: str) -> int:
    return image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}")


def test_raw_colour_comes_through_as_it_is() -> None:
    pixels = np.arange(16 * 20 * 3, dtype=np.uint8).reshape(16, 20, 3)

    decoded = decode_rgb(samples.raw(pixels), "f")

    assert decoded.shape == (16, 20, 3)
    assert decoded.tobytes() == pixels.tobytes()


def test_raw_grey_becomes_three_equal_channels() -> None:
    pixels = np.arange(16 * 20, dtype=np.uint8).reshape(16, 20)

    decoded = decode_rgb(samples.raw(pixels), "f")

    assert decoded.shape == (16, 20, 3)
    assert all((decoded[:, :, channel] == pixels).all() for channel in range(3))


def test_lossless_files_come_through_as_they_are() -> None:
    pixels = samples.face(5, 40, 24)

    assert (decode_rgb(samples.file(pixels), "f") == pixels).all()
    assert (decode_rgb(samples.file(pixels, "WEBP", lossless=True), "f") == pixels).all()


def test_a_jpeg_comes_through_nearly_as_it_is() -> None:
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)

    decoded = decode_rgb(samples.file(smooth, "JPEG", quality=95), "f")

    assert np.abs(decoded.astype(int) - smooth).max() < 16


def test_sixteen_bit_grey_is_scaled_to_eight() -> None:
    deep = np.zeros((16, 16), np.uint16)
    deep[0, :4] = [65535, 257, 32768, 128]

    decoded = decode_rgb(samples.file(PilImage.fromarray(deep)), "f")

    assert decoded[0, :5, 0].tolist() == [255, 1, 128, 0, 0]
    assert (decoded[:, :, 0] == decoded[:, :, 2]).all()


def test_a_palette_becomes_its_colours() -> None:
    picture = PilImage.new("P", (16, 16), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])

    assert decode_rgb(samples.file(picture), "f")[7, 7].tolist() == [10, 20, 30]


def test_transparency_is_laid_on_white() -> None:
    half = PilImage.new("RGBA", (16, 16), (0, 0, 0, 128))
    clear = PilImage.new("LA", (16, 16), (0, 0))

    # 255 * (1 - 128 / 255) = 127
    assert decode_rgb(samples.file(half), "f")[0, 0].tolist() == [127, 127, 127]
    assert decode_rgb(samples.file(clear), "f")[0, 0].tolist() == [255, 255, 255]


def test_a_transparent_palette_entry_is_white() -> None:
    picture = PilImage.new("P", (16, 16), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])

    decoded = decode_rgb(samples.file(picture, transparency=bytes([255, 0])), "f")

    assert decoded[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_light_lines_on_nothing_are_laid_on_black(mode: str) -> None:
    alpha = np.zeros((16, 16), np.uint8)
    alpha[5, 2:14] = 255
    drawing = PilImage.new(mode[:-1], (16, 16), "white")
    drawing.putalpha(PilImage.fromarray(alpha))

    decoded = decode_rgb(samples.file(drawing), "f")

    assert np.array_equal(decoded, np.stack([alpha] * 3, axis=2))


def test_a_white_sheet_with_transparent_corners_stays_white() -> None:
    alpha = np.full((16, 16), 255, np.uint8)
    alpha[:2, :2] = 0
    sheet = PilImage.new("RGB", (16, 16), "white")
    sheet.putalpha(PilImage.fromarray(alpha))

    assert (decode_rgb(samples.file(sheet), "f") == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    white = PilImage.new(mode, (16, 16), 0 if mode == "CMYK" else 255)

    assert decode_rgb(samples.file(white, kind), "f").min() >= 250


@pytest.mark.parametrize(("width", "height"), [(16, 16), (4096, 16), (16, 4096)])
def test_sides_at_the_limits_are_taken(width: int, height: int) -> None:
    assert decode_rgb(samples.file(np.zeros((height, width), np.uint8)), "f").shape == (
        height,
        width,
        3,
    )


@pytest.mark.parametrize("kind", FILES)
def test_the_same_pixels_are_always_the_same_file(kind: str) -> None:
    pixels = samples.face(2)

    first, second = encode(pixels, as_format(kind)), encode(pixels.copy(), as_format(kind))

    assert first.data == second.data
    assert (first.width, first.height) == (64, 64)
    with PilImage.open(io.BytesIO(first.data)) as opened:
        assert (opened.format, opened.size) == (kind, (64, 64))


def test_raw_output_round_trips() -> None:
    pixels = samples.face(2, 20, 30)

    assert (decode_rgb(encode(pixels, image_pb2.IMAGE_FORMAT_RGB8), "f") == pixels).all()
    assert encode(pixels[:, :, 0], image_pb2.IMAGE_FORMAT_LABELS8) == image_pb2.Image(
        format=image_pb2.IMAGE_FORMAT_LABELS8,
        width=20,
        height=30,
        data=pixels[:, :, 0].tobytes(),
    )


def test_an_output_format_that_a_service_does_not_write_is_refused() -> None:
    allowed = (image_pb2.IMAGE_FORMAT_GRAY8, image_pb2.IMAGE_FORMAT_PNG)

    assert check_output(0, image_pb2.IMAGE_FORMAT_GRAY8, allowed) == image_pb2.IMAGE_FORMAT_GRAY8
    for wrong in (image_pb2.IMAGE_FORMAT_RGB8, 77, -1):
        with pytest.raises(InvalidArgument) as caught:
            check_output(wrong, image_pb2.IMAGE_FORMAT_GRAY8, allowed)
        assert caught.value.field == "output_format"


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((64, 64), (256, 256)),
        ((256, 256), (256, 256)),
        ((300, 200), (300, 200)),
        ((512, 512), (512, 512)),
        ((1024, 768), (512, 384)),
        ((64, 32), (256, 128)),
        ((4096, 16), (512, 16)),
    ],
)
def test_conditions_keep_their_aspect_within_256_to_512(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)

    assert fit_condition(pixels).shape == (fitted[1], fitted[0], 3)


@pytest.mark.parametrize("kind", FILES)
def test_a_photograph_is_seen_upright(kind: str) -> None:
    lying = np.zeros((16, 32, 3), np.uint8)
    lying[:, 24:] = 255
    exif = PilImage.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored right side is the bottom

    upright = decode_rgb(samples.file(lying, kind, exif=exif.tobytes()), "f")

    assert upright.shape == (32, 16, 3)
    assert upright[26:].min() > 200 and upright[:22].max() < 50


def test_grey_is_luminance_and_grey_stays_as_it_is() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 255

    assert (decode_grey(samples.raw(ramp), "f") == ramp).all()
    # 0.299 * 255
    assert np.unique(decode_grey(samples.raw(red), "f")).tolist() == [76]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((kind, mode) for kind in ("PNG", "WEBP") for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
     ("JPEG", "RGB"), ("JPEG", "L")],
)  # fmt: skip
def test_grey_of_a_file_is_the_luminance_of_its_colours(kind: str, mode: str) -> None:
    image = samples.file(PilImage.fromarray(samples.face(5)).convert(mode), kind)

    red, green, blue = decode_rgb(image, "f").astype(int).transpose(2, 0, 1)

    # ITU-R 601-2, in the sixteen bits that Pillow counts in.
    luminance = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    assert (decode_grey(image, "f") == luminance).all()
