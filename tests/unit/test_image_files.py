"""Files of pictures: their kind is their content, they are seen upright, and memory limits their size."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image as PilImage
from tests import samples
from tests.samples import Array

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import InvalidArgument
from faceloom.core.image_files import read_picture
from faceloom.core.image_header import read_header
from faceloom.core.images import decode_grey, decode_pictures, decode_rgb

FILES = ("PNG", "JPEG", "WEBP")


def photograph(width: int, height: int) -> PilImage.Image:
    """Large, with shades, edges and colours."""
    face = PilImage.fromarray(samples.face(4)).resize(
        (width // 16, height // 16), PilImage.Resampling.BICUBIC
    )
    return face.resize((width, height), PilImage.Resampling.BILINEAR)


def apart(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("said", FILES)
@pytest.mark.parametrize("kind", FILES)
def test_the_kind_of_a_file_is_its_content(kind: str, said: str) -> None:
    image = samples.file(samples.face(1), kind)
    wanted = decode_rgb(image, "f")

    image.format = image_pb2.ImageFormat.ValueType(
        image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{said}")
    )

    assert (decode_rgb(image, "f") == wanted).all()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "L", "RGBA", "P")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "L", "RGBA", "P")),
    ],
)
def test_headers_say_what_decoders_find(kind: str, mode: str) -> None:
    picture = PilImage.fromarray(samples.face(1, 70, 40)).convert(mode)
    for options in (
        {},
        {"lossless": True, "progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0"},
    ):
        header = read_header(samples.file(picture, kind, **options).data)
        assert header[:3] == (kind, 70, 40)


def test_only_a_jpeg_of_several_scans_has_to_be_kept_whole() -> None:
    picture = samples.face(1)

    plain = read_header(samples.file(picture, "JPEG").data)
    progressive = read_header(samples.file(picture, "JPEG", progressive=True).data)

    assert (plain.bytes_per_pixel, progressive.bytes_per_pixel) == (1, 7)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = samples.file(samples.face(1), "JPEG", progressive=True).data
    last = data[data.rindex(b"\xff\xda") : -2]

    with pytest.raises(InvalidArgument, match="broken JPEG: it has more than 100 scans"):
        read_picture(data[:-2] + last * 100 + data[-2:], "f")
    # What follows the picture, of telephones a film, is not looked at.
    assert read_picture(data + last * 100, "f").size == (64, 64)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [*FILES, "XMP"])
def test_pictures_are_seen_upright(kind: str, orientation: int) -> None:
    upright = np.zeros((32, 48), np.uint8)
    upright[:16] = 200
    upright[:16, :16] = 90
    # How a camera stores what it saw that way, by the table of the Exif standard.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    packet = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    options = {"xmp": packet} if kind == "XMP" else {"exif": exif.tobytes()}

    image = samples.file(np.ascontiguousarray(stored), kind.replace("XMP", "JPEG"), **options)

    assert apart(decode_grey(image, "f"), upright) < 3


@pytest.mark.parametrize("kind", FILES)
def test_exif_that_cannot_be_read_says_nothing(kind: str) -> None:
    exif = b"Exif\0\0junk, and no Exif"
    plain = decode_rgb(samples.file(samples.face(1), kind), "f")

    assert (decode_rgb(samples.file(samples.face(1), kind, exif=exif), "f") == plain).all()


@pytest.mark.parametrize(
    ("kind", "width", "height"), [("JPEG", 5712, 2142), ("PNG", 4200, 1400), ("WEBP", 4200, 900)]
)
def test_large_photographs_are_what_they_are_when_they_are_small(
    kind: str, width: int, height: int
) -> None:
    picture = photograph(width, height)
    read = read_picture(samples.file(picture, kind, quality=95, compress_level=1).data, "f")

    assert read.size == ((width + 1) // 2, (height + 1) // 2)
    size = (512, 512 * height // width)
    wanted, found = (
        np.asarray(one.resize(size, PilImage.Resampling.LANCZOS)) for one in (picture, read)
    )
    assert apart(wanted, found) < 1


def test_a_photograph_within_the_limits_is_not_scaled() -> None:
    picture = photograph(4096, 600)

    read = read_picture(samples.file(picture, "JPEG", quality=95).data, "f")

    assert read.size == (4096, 600)


@pytest.mark.parametrize(("side", "scale"), [(9000, 4), (17000, 8), (33000, 16)])
def test_a_jpeg_of_any_side_is_brought_to_the_limit(side: int, scale: int) -> None:
    long = PilImage.new("RGB", (side, 256), (200, 100, 50))

    read = read_picture(samples.file(long, "JPEG").data, "f")

    assert read.size == (-(-side // scale), 256 // scale)
    assert apart(np.asarray(read), np.array([200, 100, 50])) < 3


def test_raw_pictures_are_brought_to_the_limit_too() -> None:
    stripes = np.zeros((40, 6000, 3), np.uint8)
    stripes[:, ::2] = 200

    decoded = decode_rgb(samples.raw(stripes), "f")

    assert decoded.shape == (20, 3000, 3) and (decoded == 100).all()


def claiming(kind: str, width: int, height: int, *, progressive: bool = False) -> bytes:
    """A small file that says it were that large."""
    data = bytearray(samples.file(samples.face(1), kind, progressive=progressive).data)
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "JPEG":
        at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    else:
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "side", "progressive", "millions"),
    [("PNG", 7000, False, 48), ("WEBP", 5300, False, 26), ("JPEG", 24000, False, 536),
     ("JPEG", 9000, True, 76)],
)  # fmt: skip
def test_memory_is_the_limit(kind: str, side: int, progressive: bool, millions: int) -> None:
    data = claiming(kind, side, side, progressive=progressive)

    with pytest.raises(InvalidArgument) as caught:
        read_picture(data, "images[0]")

    assert caught.value.field == "images[0]"
    assert caught.value.message == (
        f"{side}x{side} pixels; a {kind} like this one may have {millions} million"
    )


def test_a_file_that_says_two_sizes_is_refused() -> None:
    data = samples.file(samples.face(1)).data
    second = bytearray(data[8:33])
    second[8:16] = struct.pack(">II", 60_000, 60_000)
    second[21:25] = struct.pack(">I", zlib.crc32(bytes(second[4:21])))

    with pytest.raises(InvalidArgument, match="broken PNG"):
        read_picture(data[:33] + bytes(second) + data[33:], "f")


def test_a_call_may_have_so_many_pixels() -> None:
    flat = samples.file(PilImage.new("L", (4096, 4096), 255))

    decoded = decode_pictures([flat] * 5, "images")

    for _ in range(4):
        assert next(decoded).shape == (4096, 4096, 3)
    with pytest.raises(InvalidArgument) as caught:
        next(decoded)
    assert caught.value.field == "images[4]"


def test_of_an_animation_it_is_the_first_picture() -> None:
    first, second = (PilImage.fromarray(samples.face(number)) for number in (1, 2))
    for kind in ("PNG", "WEBP"):
        buffer = io.BytesIO()
        first.save(buffer, kind, save_all=True, append_images=[second], lossless=True)
        image = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=buffer.getvalue())
        assert (decode_rgb(image, "f") == np.asarray(first)).all()


_PEAK = """
import sys
from pathlib import Path
from faceloom.core.image_files import read_picture
def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return int(line.split()[1]) * 1024
data = sys.stdin.buffer.read()
before = peak()
read_picture(data, "f")
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGBA", {"compress_level": 1}),
        ("PNG", "P", {"compress_level": 1, "transparency": 3}),
        ("WEBP", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
        ("JPEG", "RGB", {"progressive": True}),
    ],
)
def test_no_file_takes_more_memory_than_its_header_says(
    kind: str, mode: str, options: dict[str, object]
) -> None:
    picture = PilImage.new(mode, (4200, 1400), 3 if mode == "P" else None)
    data = samples.file(picture, kind, **options).data

    done = subprocess.run(
        [sys.executable, "-c", _PEAK], input=data, capture_output=True, check=True
    )

    assert int(done.stdout) < read_header(data).memory
