"""Pictures on the wire: `faceloom.common.v1.Image` to numpy arrays and back, with every limit checked
before memory is spent on pixels."""

import io
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from PIL import Image as PilImage

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Pixels
from faceloom.core.errors import InvalidArgument
from faceloom.core.image_files import (
    MIN_SIDE,
    check_file,
    check_size,
    read_picture,
    within_side,
)
from faceloom.core.image_header import MAX_MEMORY

# Of the memory that a call's files take, each in its turn. A few kilobytes of PNG can hold that many pixels,
# and decoding them takes seconds that nobody else gets.
_MAX_CALL_MEMORY: Final = MAX_MEMORY * 11 // 8

# Sketches and layouts are what translators are conditioned on; pixel2style2pixel wants 256 pixels.
_CONDITION_SIDES: Final = (256, 512)

_RAW_CHANNELS: Final = {
    image_pb2.IMAGE_FORMAT_RGB8: 3,
    image_pb2.IMAGE_FORMAT_GRAY8: 1,
    image_pb2.IMAGE_FORMAT_LABELS8: 1,
}
_FILES: Final = {
    image_pb2.IMAGE_FORMAT_PNG: "PNG",
    image_pb2.IMAGE_FORMAT_JPEG: "JPEG",
    image_pb2.IMAGE_FORMAT_WEBP: "WEBP",
}
# Fixed, so that the same pixels are always the same bytes.
_SAVE_OPTIONS: Final[dict[str, dict[str, int]]] = {
    "PNG": {"compress_level": 6},
    "JPEG": {"quality": 92},
    "WEBP": {"quality": 92, "method": 4},
}


def decode_pictures(images: Sequence[image_pb2.Image], field: str) -> Iterator[Pixels]:
    """The pixels of one call's pictures, in order; see `decode_rgb`.

    Raises:
        InvalidArgument: A picture is wrong, or decoding all of them takes more than a call may.
    """
    total = 0
    for index, image in enumerate(images):
        place = f"{field}[{index}]"
        if is_file(image):
            total += check_file(image.data, place).memory
        if total > _MAX_CALL_MEMORY:
            raise InvalidArgument(
                "too many pixels in one call; send fewer or smaller pictures", field=place
            )
        yield decode_rgb(image, place)


def decode_rgb(image: image_pb2.Image, field: str) -> Pixels:
    """The pixels of a picture. A file is read as a browser shows it: upright, in sRGB, transparency on white;
    its kind is what its bytes are, whichever of the three kinds of files `format` says.

    Returns:
        uint8 array [height, width, 3], sides up to 4096: of longer ones several pixels become one. Grey
        becomes three equal channels.

    Raises:
        InvalidArgument: `field`, extended by the part of the image that is wrong.
    """
    picture = _decode_picture(image, field)
    return np.asarray(picture.convert("RGB"))


def decode_grey(image: image_pb2.Image, field: str) -> Pixels:
    """The luminance of a picture, uint8 [height, width]; see `decode_rgb`."""
    return np.asarray(_decode_picture(image, field).convert("L"))


def decode_raw(image: image_pb2.Image, field: str) -> Pixels:
    """The bytes of a raw format as they are: uint8 [height, width, channels].

    Raises:
        InvalidArgument: Size and number of bytes do not suit each other.
    """
    check_size(image.width, image.height, field)
    channels = _RAW_CHANNELS[image.format]
    expected = image.width * image.height * channels
    if len(image.data) != expected:
        raise InvalidArgument(
            f"{len(image.data)} bytes of data for {image.width}x{image.height} pixels of"
            f" {channels} channels; {expected} are needed",
            field=f"{field}.data",
        )
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, channels)


def is_file(image: image_pb2.Image) -> bool:
    """Whether its data are a file, and not raw."""
    return image.format in _FILES


def format_name(image: image_pb2.Image) -> str:
    """Of a format, for refusals; its number if it has no name."""
    known = image.format in image_pb2.ImageFormat.values()
    return image_pb2.ImageFormat.Name(image.format) if known else str(image.format)


def encode(pixels: Pixels, output_format: int) -> image_pb2.Image:
    """A picture as a message.

    Args:
        pixels: uint8 [height, width, 3] for colour or [height, width] for grey and labels.
        output_format: A value of ImageFormat that suits the pixels.
    """
    height, width = pixels.shape[:2]
    if output_format in _FILES:
        kind = _FILES[image_pb2.ImageFormat.ValueType(output_format)]
        return encode_file(PilImage.fromarray(pixels), kind)
    return image_pb2.Image(
        format=image_pb2.ImageFormat.ValueType(output_format),
        width=width,
        height=height,
        data=np.ascontiguousarray(pixels).tobytes(),
    )


def encode_file(picture: PilImage.Image, kind: str) -> image_pb2.Image:
    """A picture as a file of that kind (`PNG`, `JPEG`, `WEBP`) in a message."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **_SAVE_OPTIONS[kind])
    code = next(code for code, name in _FILES.items() if name == kind)
    return image_pb2.Image(
        format=code, width=picture.width, height=picture.height, data=buffer.getvalue()
    )


def check_output(wanted: int, default: int, allowed: tuple[int, ...]) -> int:
    """The output format to use.

    Raises:
        InvalidArgument: The service does not write that format.
    """
    chosen = wanted or default
    if chosen not in allowed:
        names = ", ".join(
            image_pb2.ImageFormat.Name(image_pb2.ImageFormat.ValueType(code)) for code in allowed
        )
        raise InvalidArgument(f"this service writes {names}", field="output_format")
    return chosen


def _decode_picture(image: image_pb2.Image, field: str) -> PilImage.Image:
    """Of mode L or RGB."""
    if image.format in (image_pb2.IMAGE_FORMAT_RGB8, image_pb2.IMAGE_FORMAT_GRAY8):
        pixels = decode_raw(image, field)
        return within_side(PilImage.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))
    if is_file(image):
        return read_picture(image.data, field)
    raise InvalidArgument(
        f"{format_name(image)} is not a format of pictures", field=f"{field}.format"
    )


def fit_condition(pixels: Pixels) -> Pixels:
    """The picture at the size its sketch and its layout have: long side 256 to 512, same aspect."""
    height, width = pixels.shape[:2]
    long_side = max(height, width)
    wanted = min(max(long_side, _CONDITION_SIDES[0]), _CONDITION_SIDES[1])
    if wanted == long_side:
        return pixels
    size = [max(MIN_SIDE, round(side * wanted / long_side)) for side in (width, height)]
    picture = PilImage.fromarray(pixels)
    return np.asarray(picture.resize((size[0], size[1]), PilImage.Resampling.LANCZOS))
