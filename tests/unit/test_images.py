"""Images from strangers: every format, every way of being broken, and no way to spend memory."""

import io
import struct
import threading
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from tests import samples

from faceloom.common.v1 import image_pb2
from faceloom.runtime.errors import InvalidArgument
from faceloom.runtime.images import (
    check_output,
    decode_grey,
    decode_labels,
    decode_rgb,
    encode,
    fit_condition,
)

FILES = ("PNG", "JPEG", "WEBP")


def as_format(kind: str) -> int:
    return image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}")


def refusal(image: image_pb2.Image) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        decode_rgb(image, "images[3]")
    return caught.value


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


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    white = PilImage.new(mode, (16, 16), 0 if mode == "CMYK" else 255)

    assert decode_rgb(samples.file(white, kind), "f").min() >= 250


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    image = samples.file(samples.face(1), kind)
    image.data = image.data[: int(len(image.data) * share)]

    assert refusal(image).field == "images[3].data"


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_kind_is_refused(kind: str) -> None:
    other = FILES[FILES.index(kind) - 1]
    image = samples.file(samples.face(1), other)
    image.format = image_pb2.ImageFormat.ValueType(as_format(kind))

    error = refusal(image)

    assert error.field == "images[3].data"
    assert kind in error.message


@pytest.mark.parametrize("side", [30_000, 100_000, 2**31 - 1])
def test_a_bomb_is_refused_before_its_pixels_exist(side: int) -> None:
    bomb = samples.png_bomb(side)
    assert len(bomb.data) < 5000

    tracemalloc.start()
    error = refusal(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert error.field == "images[3]"
    assert str(side) in error.message
    assert peak < 2**20


def test_a_picture_with_a_huge_text_chunk_is_refused_before_it_is_unpacked() -> None:
    data = bytearray(samples.png_header(16, 16))
    text = b"key\0\0" + zlib.compress(bytes(64 * 2**20))
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + text))
    data[33:33] = chunk

    error = refusal(image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=bytes(data)))

    assert error.field == "images[3].data"


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (15, 64), (64, 15), (4097, 16), (16, 4097), (30_000, 16)]
)
def test_sides_outside_the_limits_are_refused_in_every_format(width: int, height: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)

    for image in (samples.raw(pixels), samples.file(pixels)):
        error = refusal(image)
        assert error.field == "images[3]"
        assert f"{width}x{height}" in error.message


@pytest.mark.parametrize(("width", "height"), [(16, 16), (4096, 16), (16, 4096)])
def test_sides_at_the_limits_are_taken(width: int, height: int) -> None:
    assert decode_rgb(samples.file(np.zeros((height, width), np.uint8)), "f").shape == (
        height,
        width,
        3,
    )


@pytest.mark.parametrize("missing", [-1, 1, 64 * 64])
def test_a_wrong_number_of_bytes_is_refused(missing: int) -> None:
    image = samples.raw(samples.face(1))
    image.data = image.data[:-missing] if missing > 0 else image.data + b"\0"

    error = refusal(image)

    assert error.field == "images[3].data"
    assert "12288 are needed" in error.message


def test_grey_bytes_announced_as_colour_are_refused() -> None:
    image = samples.raw(samples.face(1)[:, :, 0])
    image.format = image_pb2.IMAGE_FORMAT_RGB8

    assert refusal(image).field == "images[3].data"


@pytest.mark.parametrize("wrong", [0, image_pb2.IMAGE_FORMAT_LABELS8, 7, 1000, -1])
def test_what_is_not_a_format_of_pictures_is_refused(wrong: int) -> None:
    image = samples.raw(samples.face(1))
    image.format = image_pb2.ImageFormat.ValueType(wrong)

    assert refusal(image).field == "images[3].format"


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(FILES), data=st.binary(max_size=300))
def test_arbitrary_bytes_are_a_picture_or_invalid_argument(kind: str, data: bytes) -> None:
    starts = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF\0\0\0\0WEBPVP8 "}
    for content in (data, starts[kind] + data):
        image = image_pb2.Image(format=as_format(kind), data=content)  # type: ignore[arg-type]
        assert refusal(image).field.startswith("images[3]")  # type: ignore[union-attr]


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(FILES), place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_damaged_file_is_a_picture_or_invalid_argument(
    kind: str, place: float, value: int
) -> None:
    image = samples.file(samples.face(1, 32, 32), kind)
    data = bytearray(image.data)
    data[int(place * (len(data) - 1))] = value
    image.data = bytes(data)

    try:
        decoded = decode_rgb(image, "f")
    except InvalidArgument as error:
        assert error.field in ("f", "f.data")
    else:
        assert decoded.ndim == 3 and decoded.shape[2] == 3


def test_decoding_in_threads_leaves_the_warning_filters_of_the_process_alone() -> None:
    before = list(warnings.filters)
    seen: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(50):
                decode_rgb(samples.file(samples.face(number, 16, 16)), "f")
        except Exception as error:
            seen.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == []
    assert list(warnings.filters) == before


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


def grey_png(bits: int) -> image_pb2.Image:
    """A PNG of 16 x 16 grey values of that depth, all of them 1. Pillow writes 1, 8 and 16 bits only."""
    rows = bytes([0, *[int("1".zfill(bits) * (8 // bits), 2)] * (16 * bits // 8)]) * 16
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 16, 16, bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=data)


def labels_refusal(image: image_pb2.Image) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        decode_labels(image, "layout")
    return caught.value


def test_ids_come_through_as_they_are() -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = PilImage.fromarray(ids, "P")
    palette.putpalette(range(256))
    palette.info["transparency"] = 3
    raw = samples.raw(ids)

    for image in (
        raw,
        image_pb2.Image(format=image_pb2.IMAGE_FORMAT_LABELS8, width=16, height=16, data=raw.data),
        samples.file(ids),
        samples.file(palette),
    ):
        assert (decode_labels(image, "layout") == ids).all()


def test_a_palette_of_few_bits_holds_indices() -> None:
    picture = PilImage.new("P", (16, 16), 3)
    picture.putpalette([0, 0, 0] * 4)

    assert np.unique(decode_labels(samples.file(picture, bits=2), "layout")).tolist() == [3]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_no_label_map_because_pillow_would_spread_it(bits: int) -> None:
    error = labels_refusal(grey_png(bits))

    # What the ids would have become: 1 of 1 bit is white.
    assert decode_grey(grey_png(bits), "f").max() == 255 // (2**bits - 1)
    assert error.field == "layout.data"
    assert "less than 8 bits" in error.message


@pytest.mark.parametrize(
    ("mode", "says"),
    [("RGB", "colours"), ("RGBA", "colours"), ("LA", "transparency"), ("I;16", "16 bits")],
)
def test_pixels_that_are_no_ids_are_refused_by_what_they_are(mode: str, says: str) -> None:
    error = labels_refusal(samples.file(PilImage.new(mode, (16, 16))))

    assert error.field == "layout.data"
    assert says in error.message and "palette PNG" in error.message


@pytest.mark.parametrize("kind", ["RGB8", "JPEG", "WEBP", "UNSPECIFIED"])
def test_formats_that_change_ids_are_refused(kind: str) -> None:
    image = (
        samples.raw(samples.face(1)) if kind == "RGB8" else image_pb2.Image(format=as_format(kind))
    )  # type: ignore[arg-type]

    error = labels_refusal(image)

    assert error.field == "layout.format"
    assert kind in error.message and "LABELS8" in error.message


def test_broken_label_maps_are_refused() -> None:
    short = image_pb2.Image(
        format=image_pb2.IMAGE_FORMAT_LABELS8, width=16, height=16, data=bytes(255)
    )
    text = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=b"my label map")

    assert labels_refusal(short).field == "layout.data"
    assert "broken PNG" in labels_refusal(text).message
    assert "30000x30000" in labels_refusal(samples.png_bomb(30_000)).message


def test_grey_is_luminance_and_grey_stays_as_it_is() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, :, 0] = 255

    assert (decode_grey(samples.raw(ramp), "f") == ramp).all()
    # 0.299 * 255
    assert np.unique(decode_grey(samples.raw(red), "f")).tolist() == [76]
