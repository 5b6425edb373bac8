"""Label maps: ids come through as they are, or the map is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PilImage
from tests import samples

from faceloom.common.v1 import image_pb2
from faceloom.runtime.errors import InvalidArgument
from faceloom.runtime.images import (
    decode_grey,
    decode_labels,
)

FILES = ("PNG", "JPEG", "WEBP")


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
        samples.raw(samples.face(1))
        if kind == "RGB8"
        else image_pb2.Image(format=image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}"))
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
