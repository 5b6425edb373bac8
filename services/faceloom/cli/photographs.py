"""Pictures as cameras and scanners make them, brought to what a service takes; and results brought back to
the size of their pictures."""

import math
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from faceloom.cli.inputs import InputFile
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import FaceloomError, InvalidArgument
from faceloom.core.file_kinds import kind_of
from faceloom.core.image_header import MAX_MEMORY, Header, read_header
from faceloom.runtime.service import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from PIL import Image as PilImage

# The rest of a request takes little.
MAX_PICTURE_BYTES: Final = MAX_MESSAGE_BYTES - 2**16
# Of memory that a decoder may take here. A service takes less, for it does not work for one person alone.
_MAX_MEMORY: Final = 2**31
# EXIF orientations that exchange width and height.
_TURNED: Final = range(5, 9)


class Size(StrEnum):
    """How large results are."""

    SERVED = "served"
    ORIGINAL = "original"


SizeOption = Annotated[
    Size,
    typer.Option(
        "--size",
        help="served: as the service answers, the longer side 256 to 512 pixels. original: as large as the"
        " picture, which sharpens nothing.",
    ),
]


class Photograph(NamedTuple):
    """A picture as it is sent, and the width and height that its result gets, if not the service's."""

    source: InputFile
    image: image_pb2.Image
    size: tuple[int, int] | None = None


def read_picture(
    source: InputFile, size: Size = Size.SERVED, most: int = MAX_PICTURE_BYTES
) -> Photograph:
    """A picture that a service takes. A file that is small enough goes as it is. Of a larger one go the
    pixels, as the service itself would read them, and as many as the message holds.

    Args:
        source: The picture.
        size: How large its result is to be.
        most: Bytes that it may take in the message.

    Raises:
        FaceloomError: It is not there, of another kind, broken, or too large for this machine.
    """
    data, header = _checked(source)
    try:
        wanted = _upright_size(data) if size is Size.ORIGINAL else None
        small = header.memory <= MAX_MEMORY and len(data) <= most
        image = _as_it_is(data) if small else _within(_pixels(data), most)
    except InvalidArgument as error:
        raise FaceloomError(f"{source}: {error.message}") from None
    return Photograph(source, image, wanted)


def read_layout(source: InputFile, most: int = MAX_PICTURE_BYTES) -> Photograph:
    """A label map that a service takes: the file as it is, because pixels in between would be other classes.

    Raises:
        FaceloomError: It is not there, of another kind, or too large for a message.
    """
    data, _ = _checked(source)
    if len(data) > most:
        raise FaceloomError(
            f"{source} has {len(data) / 2**20:.0f} MiB; a label map may have {most // 2**20}: make it smaller"
            " without interpolation"
        )
    return Photograph(source, _as_it_is(data))


def drawing_of(data: bytes, size: tuple[int, int]) -> bytes:
    """A drawing, grey PNG, resampled to that width and height."""
    from PIL import Image

    from faceloom.core.images import encode_file

    with Image.open(BytesIO(data)) as drawing:
        if drawing.size == size:
            return data
        return encode_file(drawing.resize(size, Image.Resampling.LANCZOS), "PNG").data


def layout_of(data: bytes, size: tuple[int, int]) -> bytes:
    """A label map, palette PNG, at that width and height: every pixel takes the nearest one's class."""
    import numpy as np
    from PIL import Image

    from faceloom.layouts.labels import encode_png

    with Image.open(BytesIO(data)) as layout:
        if layout.size == size:
            return data
        return encode_png(np.asarray(layout.resize(size, Image.Resampling.NEAREST)))


def _checked(source: InputFile) -> tuple[bytes, Header]:
    """A file that can be decoded here."""
    data = source.read()
    try:
        header = read_header(data)
    except ValueError as error:
        raise FaceloomError(f"{source}: broken {kind_of(data)}: {error}") from None
    if header.memory > _MAX_MEMORY:
        raise FaceloomError(
            f"{source}: {header.width}x{header.height} pixels; a {header.kind} like this one may have"
            f" {_MAX_MEMORY // header.bytes_per_pixel // 10**6} million, for which decoding takes"
            f" {_MAX_MEMORY // 2**30} GiB of memory"
        )
    return data, header


def _pixels(data: bytes) -> "PilImage.Image":
    # Not at the top: help is printed, and small pictures are sent, without pillow.
    from faceloom.core import image_files

    return image_files.read_picture(data, "", _MAX_MEMORY)


def _upright_size(data: bytes) -> tuple[int, int]:
    from faceloom.core.image_files import opened, orientation

    with opened(data, "", _MAX_MEMORY) as picture:
        width, height = picture.size
        turned = orientation(picture) in _TURNED
    return (height, width) if turned else (width, height)


def _as_it_is(data: bytes) -> image_pb2.Image:
    kind = image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind_of(data)}")
    return image_pb2.Image(format=kind, data=data)


def _within(picture: "PilImage.Image", most: int) -> image_pb2.Image:
    """Raw pixels, L or RGB: nothing is lost by encoding them again, and their size is known before."""
    from PIL.Image import Resampling

    grey = picture.mode == "L"
    scale = math.sqrt(most / (picture.width * picture.height * (1 if grey else 3)))
    if scale < 1:
        size = (int(picture.width * scale), int(picture.height * scale))
        picture = picture.resize(size, Resampling.LANCZOS)
    return image_pb2.Image(
        format=image_pb2.IMAGE_FORMAT_GRAY8 if grey else image_pb2.IMAGE_FORMAT_RGB8,
        width=picture.width,
        height=picture.height,
        data=picture.tobytes(),
    )
