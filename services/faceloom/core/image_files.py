"""Files of pictures, opened within limits of memory and read as they are meant to be seen: upright, in sRGB,
transparency on white, or on black what is white itself."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from faceloom.core.colour import to_srgb
from faceloom.core.errors import InvalidArgument
from faceloom.core.file_kinds import READ, described, kind_of
from faceloom.core.image_header import MAX_MEMORY, Header, read_header

MIN_SIDE: Final = 16
# No network looks at more: what is longer is brought to it, a JPEG while it is decoded.
MAX_SIDE: Final = 4096
# How many times the longer side may be the shorter one.
MAX_ASPECT: Final = MAX_SIDE // MIN_SIDE
# Darker levels are seen on white.
INK: Final = 240

_ORIENTATION: Final = 0x0112

_READERS: Final[dict[str, Callable[[BytesIO], ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
}


def check_file(data: bytes, field: str, most: int = MAX_MEMORY) -> Header:
    """A file's header, when the file can be decoded.

    Args:
        data: The file.
        field: What refusals are about.
        most: Bytes of memory that decoding may take.

    Raises:
        InvalidArgument: It is no PNG, JPEG or WebP, it is broken, or it is too large.
    """
    if kind_of(data) not in READ:
        raise InvalidArgument(
            f"this is {described(data)}; send PNG, JPEG or WebP", field=f"{field}.data"
        )
    try:
        header = read_header(data)
    except ValueError as error:
        raise InvalidArgument(f"broken {kind_of(data)}: {error}", field=f"{field}.data") from None
    check_size(header.width, header.height, field)
    if header.memory > most:
        raise InvalidArgument(
            f"{header.width}x{header.height} pixels; a {header.kind} like this one may have"
            f" {most // header.bytes_per_pixel // 10**6} million",
            field=field,
        )
    return header


def check_size(width: int, height: int, field: str) -> None:
    """Makes sure that a picture has a shape that can be looked at.

    Raises:
        InvalidArgument: It is too small, or too long for its width.
    """
    if min(width, height) < MIN_SIDE:
        raise InvalidArgument(
            f"{width}x{height} pixels; sides must be {MIN_SIDE} at least", field=field
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidArgument(
            f"{width}x{height} pixels; one side may be {MAX_ASPECT} times the other at most",
            field=field,
        )


@contextmanager
def opened(data: bytes, field: str, most: int = MAX_MEMORY) -> Iterator[ImageFile]:
    """A file, opened but not yet decoded; what fails inside the block is the file's fault. Of an animation
    it is the first picture.

    The readers are called without `Image.open`, whose own guard against bombs is a warning: turning
    warnings into errors is a matter of the whole process, and engines decode in several threads.

    Raises:
        InvalidArgument: As `check_file`, or when decoding fails.
    """
    header = check_file(data, field, most)
    try:
        with _READERS[header.kind](BytesIO(data)) as picture:
            if picture.size != (header.width, header.height):
                raise ValueError("it says two sizes")
            yield picture
    except InvalidArgument:
        raise
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, EOFError, zlib.error, ... for broken files.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidArgument(f"broken {header.kind}: {reason}", field=f"{field}.data") from None


def read_picture(data: bytes, field: str, most: int = MAX_MEMORY) -> PilImage.Image:
    """A file's picture as a person sees it in a browser: upright, in sRGB, transparency on white. Light lines
    on nothing, which no browser shows, lie on black.

    Returns:
        Of mode L or RGB, sides up to `MAX_SIDE`.

    Raises:
        InvalidArgument: As `opened`.
    """
    with opened(data, field, most) as picture:
        # A JPEG is scaled by 2, 4 or 8 before its colours are made.
        scale = next((s for s in (1, 2, 4) if max(picture.size) <= s * MAX_SIDE), 8)
        if scale > 1 and isinstance(picture, JpegImageFile):
            picture.draft(None, (picture.width // scale, picture.height // scale))
        picture.load()
        turn_upright(picture)
        layered = within_side(_in_channels(picture))
        return _on_paper(to_srgb(layered, picture.info.get("icc_profile")))


def orientation(picture: ImageFile) -> int:
    """How the camera was held, 1 to 8 as Exif counts; 1 where nothing that can be read says it."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return 1


def turn_upright(picture: ImageFile) -> None:
    """Cameras store what the sensor saw, and how it was held beside it."""
    if orientation(picture) != 1:
        ImageOps.exif_transpose(picture, in_place=True)


def within_side(picture: PilImage.Image) -> PilImage.Image:
    """The picture, each of its pixels the mean of several if a side is longer than `MAX_SIDE`."""
    factor = -(-max(picture.size) // MAX_SIDE)
    return picture if factor == 1 else picture.reduce(factor)


def _in_channels(picture: PilImage.Image) -> PilImage.Image:
    """Of mode L, LA, RGB, RGBA or CMYK, whatever the file has."""
    if picture.mode == "I;16":
        return PilImage.fromarray(_eight_bits(np.asarray(picture)))
    grey = picture.mode in ("1", "L")
    if "transparency" in picture.info:
        return picture.convert("LA" if grey else "RGBA")
    if picture.mode in ("1", "P"):
        return picture.convert("L" if grey else "RGB")
    return picture


def _eight_bits(deep: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """The nearest of 256 levels, in 16 bits: 65407 and all above it are 255."""
    return ((np.minimum(deep, 65407) + np.uint16(128)) // np.uint16(257)).astype(np.uint8)


def _on_paper(picture: PilImage.Image) -> PilImage.Image:
    """On white; on black, if most of it is transparent and nothing is seen on white."""
    if picture.mode in ("L", "RGB"):
        return picture
    layer = picture.convert("RGBA")
    mode = picture.mode.removesuffix("A")
    on_white = _laid_on("white", layer).convert(mode)
    shown = np.asarray(layer.getchannel("A")).mean() / 255
    if 0 < shown < 0.5 and np.asarray(on_white.convert("L")).min() >= INK:
        return _laid_on("black", layer).convert(mode)
    return on_white


def _laid_on(colour: str, layer: PilImage.Image) -> PilImage.Image:
    return PilImage.alpha_composite(PilImage.new("RGBA", layer.size, colour), layer)
