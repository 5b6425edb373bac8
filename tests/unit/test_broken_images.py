"""Images from strangers: every way of being broken, and no way to spend memory."""

import struct
import threading
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import samples

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import InvalidArgument
from faceloom.core.images import (
    decode_rgb,
)

FILES = ("PNG", "JPEG", "WEBP")


def as_format(kind: str) -> int:
    return image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}")


def refusal(image: image_pb2.Image) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        decode_rgb(image, "images[3]")
    return caught.value


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float) -> None:
    image = samples.file(samples.face(1), kind)
    image.data = image.data[: int(len(image.data) * share)]

    assert refusal(image).field == "images[3].data"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file"),
        (b"GIF89a" + bytes(20), "a GIF picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"<!doctype html><title>404</title>", "a text file"),
    ],
)
@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_pictures_of_ours_are_named(kind: str, data: bytes, says: str) -> None:
    image = image_pb2.Image(format=image_pb2.ImageFormat.ValueType(as_format(kind)), data=data)

    error = refusal(image)

    assert error.field == "images[3].data"
    assert error.message == f"this is {says}; send PNG, JPEG or WebP"


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
