"""Layouts: what a picture shows says the classes, however it is stored; anything else is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFilter
from tests import profiles, samples
from tests.samples import Array

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import InvalidArgument
from faceloom.layouts.classes import PALETTE
from faceloom.layouts.pictures import ToldBy, read_layout

RESAMPLING = PilImage.Resampling


def ids(last: int = 18) -> Array:
    """Areas of all ids up to that one, 60 x 80, of which no two have the same share."""
    picture = PilImage.new("L", (80, 60), 0)
    draw = ImageDraw.Draw(picture)
    for id in range(1, last + 1):
        x, y = (id * 37) % 80, (id * 23) % 60
        draw.ellipse([x - 9, y - 6 - id // 3, x + 9 + id // 2, y + 6], id)
    return np.asarray(picture)


IDS = ids()
COLOURS = np.array(PALETTE, np.uint8)[IDS]


def in_palette(numbers: Array, palette: Array, **options: object) -> image_pb2.Image:
    picture = PilImage.fromarray(numbers, "P")
    picture.putpalette(palette.tobytes())
    return samples.file(picture, **options)


def renumbered(bits: int) -> image_pb2.Image:
    """Colours of the first ids at other places of a palette, with entries that nothing uses."""
    count = 2**bits
    order = np.arange(count)[::-1]
    palette = np.full((count, 3), 77, np.uint8)
    shown = ids(min(count - 1, 18))
    places = order[: shown.max() + 1].astype(np.uint8)
    palette[places] = np.array(PALETTE, np.uint8)[: len(places)]
    return in_palette(places[shown], palette, bits=bits)


def with_alpha(colours: Array, alpha: Array | int) -> PilImage.Image:
    layer = np.full((*colours.shape[:2], 1), 255, np.uint8)
    layer[..., 0] = alpha
    return PilImage.fromarray(np.concatenate([np.atleast_3d(colours), layer], axis=2))


def png(values: Array, bits: int, colour_type: int = 0) -> image_pb2.Image:
    """A PNG of samples of that depth, [H, W] or [H, W, C]. Pillow writes some kinds only."""
    height, width = values.shape[:2]
    flat = values.reshape(height, -1)
    if bits == 16:
        rows = flat.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        unpacked = np.unpackbits(flat.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = np.packbits(unpacked.reshape(height, -1), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=data)


def labels8(values: Array) -> image_pb2.Image:
    image = samples.raw(values)
    image.format = image_pb2.IMAGE_FORMAT_LABELS8
    return image


# The first of PASCAL VOC's colours, as its development kit lists them.
VOC = np.array(
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128),
     (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128),
     (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0)], np.uint8,
)  # fmt: skip

GREYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
# As painting programs leave what was erased: its colour is still there.
ERASED = np.where(IDS[..., None] == 0, np.uint8(200), COLOURS)
DEEP = IDS.astype(np.uint16)

BY_COLOUR: dict[str, tuple[image_pb2.Image, Array]] = {
    "palette with other numbers, 8 bits": (renumbered(8), IDS),
    "palette with other numbers, 4 bits": (renumbered(4), ids(15)),
    "palette with other numbers, 2 bits": (renumbered(2), ids(3)),
    "palette with other numbers, 1 bit": (renumbered(1), ids(1)),
    "RGB": (samples.file(COLOURS), IDS),
    "RGB with a profile": (samples.file(COLOURS, icc_profile=profiles.rgb(profiles.P3)), IDS),
    "RGBA": (samples.file(with_alpha(COLOURS, 255)), IDS),
    "transparent background": (samples.file(with_alpha(ERASED, (IDS > 0) * np.uint8(255))), IDS),
    "RGB of 16 bits": (png(COLOURS.astype(np.uint16) * 257, 16, 2), IDS),
    "quantised by Pillow": (samples.file(PilImage.fromarray(COLOURS).quantize(64)), IDS),
    "lossless WebP": (samples.file(COLOURS, "WEBP", lossless=True), IDS),
    "raw RGB": (samples.raw(COLOURS), IDS),
    "called a JPEG": (
        image_pb2.Image(format=image_pb2.IMAGE_FORMAT_JPEG, data=samples.file(COLOURS).data), IDS,
    ),
}  # fmt: skip
BY_ID: dict[str, tuple[image_pb2.Image, Array]] = {
    "grey": (samples.file(IDS), IDS),
    "grey with a profile": (samples.file(IDS, icc_profile=profiles.grey(2.2)), IDS),
    "grey of 4 bits": (png(ids(15), 4), ids(15)),
    "grey of 2 bits": (png(ids(3), 2), ids(3)),
    "grey of 16 bits": (png(DEEP, 16), IDS),
    "grey of 16 bits, made of 8": (png(DEEP * 257, 16), IDS),
    "grey with alpha": (samples.file(with_alpha(IDS, 255)), IDS),
    "grey with alpha of 16 bits": (
        png(np.stack([DEEP * 257, np.full_like(DEEP, 65535)], axis=2), 16, 4), IDS,
    ),
    "grey as RGB": (samples.file(IDS[..., None].repeat(3, 2)), IDS),
    "grey palette": (in_palette(IDS, GREYS), IDS),
    "grey palette with other numbers": (in_palette(255 - IDS, GREYS[::-1].copy()), IDS),
    "PASCAL VOC's palette": (in_palette(IDS, VOC), IDS),
    "PASCAL VOC's colours": (samples.file(VOC[IDS]), IDS),
    "a palette that nobody set": (in_palette(IDS, np.zeros((19, 3), np.uint8)), IDS),
    "LABELS8": (labels8(IDS), IDS),
    "GRAY8": (samples.raw(IDS), IDS),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_COLOUR)
def test_colours_say_the_class(name: str) -> None:
    image, wanted = BY_COLOUR[name]

    labels, told_by = read_layout(image, "layout")

    assert told_by is ToldBy.COLOURS
    assert (labels == wanted).all()


@pytest.mark.parametrize("name", BY_ID)
def test_ids_come_through_as_they_are(name: str) -> None:
    image, wanted = BY_ID[name]

    labels, told_by = read_layout(image, "layout")

    assert told_by is ToldBy.IDS
    assert (labels == wanted).all()


def test_a_palette_of_ids_in_their_own_colours_says_both() -> None:
    labels, told_by = read_layout(in_palette(IDS, np.array(PALETTE, np.uint8)), "layout")

    assert told_by is ToldBy.BOTH
    assert (labels == IDS).all()


def test_interlaced_layouts_are_read() -> None:
    # All of one colour, so that seven passes of it are one after the other.
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 1)
    passes = [(2, 2), (2, 2), (4, 2), (4, 4), (8, 4), (8, 8), (16, 8)]
    raw = b"".join((b"\0" + bytes(PALETTE[13]) * width) * height for width, height in passes)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    )

    labels, _ = read_layout(image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=data), "l")

    assert labels.shape == (16, 16) and (labels == 13).all()


def test_a_layout_is_seen_upright() -> None:
    exif = PilImage.Exif()
    exif[0x0112] = 6  # what is stored as the right side is the bottom

    labels, _ = read_layout(samples.file(COLOURS, exif=exif.tobytes()), "layout")

    assert (labels == np.rot90(IDS, -1)).all()


def test_long_layouts_are_brought_to_the_limit_without_mixing() -> None:
    big = IDS.repeat(10, 0).repeat(70, 1)

    labels, _ = read_layout(samples.file(big), "layout")

    assert labels.shape == (300, 2800)
    assert (labels == big[1::2, 1::2]).all()


def refusal(image: image_pb2.Image) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        read_layout(image, "layout")
    return caught.value


def changed(values: Array, value: object) -> Array:
    """With another value at column 20 of row 30."""
    made = values.copy()
    made[30, 20] = value
    return made


BLURRED = PilImage.fromarray(COLOURS).filter(ImageFilter.GaussianBlur(0.6))
UNKNOWN: dict[str, tuple[image_pb2.Image, str, str]] = {
    "an id that is none": (samples.file(changed(IDS, 19)), "", "pixel (20, 30) is 19; ids are"),
    "a raw id that is none": (labels8(changed(IDS, 200)), "", "pixel (20, 30) is 200; ids are"),
    "grey of 16 bits": (png(changed(DEEP, 300), 16), "", "pixel (20, 30) is 300; ids are"),
    "a colour that is nobody's": (
        samples.file(changed(COLOURS, (1, 2, 255))), "", "pixel (20, 30) is #0102ff, which is no",
    ),
    "a palette with a colour of nobody's": (
        in_palette(changed(IDS, 30), np.vstack([PALETTE, [[9, 9, 200]] * 12]).astype(np.uint8)), "",
        "pixel (20, 30) is #0909c8",
    ),
    "a palette of nobody's colours": (
        in_palette(IDS, np.random.RandomState(1).randint(30, 256, (19, 3)).astype(np.uint8)), "",
        "it is no layout: send CelebAMask-HQ's 19 colours or ids 0 to 18 in grey",
    ),
    "a palette of classes, and an index behind it": (
        in_palette(changed(IDS, 255), np.array(PALETTE, np.uint8)), "", "pixel (20, 30) has index 255, which",
    ),
    "a palette of classes, filled up with black": (
        in_palette(changed(IDS, 19), np.vstack([PALETTE, [[0, 0, 0]] * 237]).astype(np.uint8)), "",
        "pixel (20, 30) has index 19, which",
    ),
    "smooth edges": (samples.file(BLURRED), "", "save the layout as PNG, resized with nearest"),
    "edges that fade": (
        samples.file(with_alpha(COLOURS, changed(np.full_like(IDS, 255), 128))), "",
        "pixel (20, 30) is transparent in part",
    ),
    "a photograph": (samples.file(samples.face(1)), "", "pixel (0, 0) is #"),
    "a drawing": (samples.file(samples.page()), "", "is 255; ids are 0 to 18"),
    "a drawing of 1 bit": (samples.file(PilImage.new("1", (32, 32), 1)), ".data", "is a drawing"),
    "small ids of 16 bits in RGB": (
        png(np.stack([DEEP] * 3, axis=2), 16, 2), "", "first 8 bits of 16",
    ),
    "a JPEG of the colours": (samples.file(COLOURS, "JPEG", quality=100), ".data", "a JPEG mixes"),
    "a lossy WebP of the colours": (samples.file(COLOURS, "WEBP"), "", "smoothing or compression changed"),
    "a WebP of ids": (
        samples.file(IDS[..., None].repeat(3, 2), "WEBP", lossless=True), ".data", "as PNG",
    ),
    "too few bytes": (
        image_pb2.Image(format=image_pb2.IMAGE_FORMAT_LABELS8, width=16, height=16, data=bytes(255)),
        ".data", "255 bytes of data for 16x16",
    ),
    "a text": (image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=b"my map"), ".data", "a text file"),
    "a bomb": (samples.png_bomb(30_000), "", "30000x30000 pixels"),
    "no format": (image_pb2.Image(), ".format", "IMAGE_FORMAT_UNSPECIFIED is not"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_shows_something_else_is_refused(name: str) -> None:
    image, part, says = UNKNOWN[name]

    error = refusal(image)

    assert error.field == f"layout{part}"
    assert says in error.message


@pytest.mark.parametrize("sampling", ["BILINEAR", "BICUBIC", "LANCZOS", "HAMMING"])
@pytest.mark.parametrize("size", [(45, 60), (200, 150), (320, 240)])
def test_ids_that_interpolation_made_are_refused(sampling: str, size: tuple[int, int]) -> None:
    smooth = np.minimum(PilImage.fromarray(IDS).resize(size, RESAMPLING[sampling]), 18)
    classes = np.array(PALETTE, np.uint8)

    for image in (
        samples.file(smooth),
        in_palette(smooth, classes),
        samples.file(classes[smooth]),
    ):
        assert "between the ids beside it" in refusal(image).message


@pytest.mark.parametrize("size", [(40, 30), (79, 61), (333, 250)])
def test_ids_that_were_resized_as_they_should_are_taken(size: tuple[int, int]) -> None:
    resized = PilImage.fromarray(IDS).resize(size, RESAMPLING.NEAREST)

    labels, _ = read_layout(samples.file(resized), "layout")

    assert (labels == np.asarray(resized)).all()


def test_bands_and_noise_are_not_taken_for_smoothed_maps() -> None:
    bands = np.arange(19, dtype=np.uint8).repeat(19).reshape(19, 19)
    noise = np.random.RandomState(0).randint(0, 19, (64, 64)).astype(np.uint8)

    for pattern in (bands, bands.T.copy(), noise):
        assert (read_layout(samples.file(pattern), "layout").labels == pattern).all()


def test_the_first_wrong_pixel_is_told_upright() -> None:
    wrong = io.BytesIO()
    exif = PilImage.Exif()
    exif[0x0112] = 3
    PilImage.fromarray(changed(COLOURS, (1, 2, 255))).save(wrong, "PNG", exif=exif.tobytes())

    error = refusal(image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=wrong.getvalue()))

    assert f"pixel ({79 - 20}, {59 - 30})" in error.message
