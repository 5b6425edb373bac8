"""Pictures on the wire: `faceloom.common.v1.Image` to numpy arrays and back, with every limit checked
before memory is spent on pixels."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from faceloom.common.v1 import image_pb2
from faceloom.runtime.errors import InvalidArgument

Pixels: TypeAlias = npt.NDArray[np.uint8]

MIN_SIDE: Final = 16
MAX_SIDE: Final = 4096
# Four pictures of the largest size. A few kilobytes of PNG can hold that many pixels, and decoding them
# takes seconds that nobody else gets.
MAX_CALL_PIXELS: Final = 4 * MAX_SIDE**2

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
_READERS: Final[dict[str, Callable[[io.BytesIO], ImageFile]]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,
    "WEBP": WebPImageFile,
}
_NOT_IDS: Final = {
    "RGB": "colours",
    "RGBA": "colours",
    "LA": "transparency",
    "I": "grey of 16 bits",
    "I;16": "grey of 16 bits",
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
        InvalidArgument: A picture is wrong, or together they have more pixels than a call may.
    """
    total = 0
    for index, image in enumerate(images):
        pixels = decode_rgb(image, f"{field}[{index}]")
        total += pixels.shape[0] * pixels.shape[1]
        if total > MAX_CALL_PIXELS:
            raise InvalidArgument(
                f"more than {MAX_CALL_PIXELS} pixels in one call; send fewer or smaller pictures",
                field=f"{field}[{index}]",
            )
        yield pixels


def decode_rgb(image: image_pb2.Image, field: str) -> Pixels:
    """The pixels of a picture.

    Returns:
        uint8 array [height, width, 3]; grey becomes three equal channels, transparency is laid on white.

    Raises:
        InvalidArgument: `field`, extended by the part of the image that is wrong.
    """
    pixels = _decode_picture(image, field, "RGB")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def decode_grey(image: image_pb2.Image, field: str) -> Pixels:
    """The luminance of a picture, uint8 [height, width]; see `decode_rgb`."""
    pixels = _decode_picture(image, field, "L")
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return np.asarray(PilImage.fromarray(pixels).convert("L"))


def decode_labels(image: image_pb2.Image, field: str) -> Pixels:
    """The ids of a label map, whatever they stand for: palette indices or grey values, as they are.

    Returns:
        uint8 array [height, width].

    Raises:
        InvalidArgument: `field`, extended by the part of the image that is wrong. Formats that would change
            ids, and files whose pixels are colours or deeper than ids, are refused.
    """
    if image.format in (image_pb2.IMAGE_FORMAT_LABELS8, image_pb2.IMAGE_FORMAT_GRAY8):
        return _decode_raw(image, field)[:, :, 0]
    if image.format == image_pb2.IMAGE_FORMAT_PNG:
        return _decode_file(image.data, "PNG", field, lambda picture: _ids(picture, field))
    raise InvalidArgument(
        f"{_format_name(image)} does not hold class ids; send LABELS8, GRAY8 or PNG",
        field=f"{field}.format",
    )


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


def _decode_picture(image: image_pb2.Image, field: str, mode: str) -> Pixels:
    """[height, width, channels]: a file's pixels in that mode of Pillow's, raw ones as they are."""
    if image.format in (image_pb2.IMAGE_FORMAT_RGB8, image_pb2.IMAGE_FORMAT_GRAY8):
        return _decode_raw(image, field)
    if image.format in _FILES:
        return _decode_file(
            image.data, _FILES[image.format], field, lambda picture: _on_white(picture, mode)
        )
    raise InvalidArgument(
        f"{_format_name(image)} is not a format of pictures", field=f"{field}.format"
    )


def _decode_raw(image: image_pb2.Image, field: str) -> Pixels:
    _check_size(image.width, image.height, field)
    channels = _RAW_CHANNELS[image.format]
    expected = image.width * image.height * channels
    if len(image.data) != expected:
        raise InvalidArgument(
            f"{len(image.data)} bytes of data for {image.width}x{image.height} pixels of"
            f" {channels} channels; {expected} are needed",
            field=f"{field}.data",
        )
    pixels = np.frombuffer(image.data, np.uint8)
    return pixels.reshape(image.height, image.width, channels)


def _format_name(image: image_pb2.Image) -> str:
    known = image.format in image_pb2.ImageFormat.values()
    return image_pb2.ImageFormat.Name(image.format) if known else str(image.format)


def _decode_file(data: bytes, kind: str, field: str, read: Callable[[ImageFile], Pixels]) -> Pixels:
    """Reads the header first: a file that would unpack to too many pixels is never unpacked.

    The readers are called without `Image.open`, whose own guard against bombs is a warning: turning
    warnings into errors is a matter of the whole process, and engines decode in several threads.
    """
    try:
        with _READERS[kind](io.BytesIO(data)) as picture:
            _check_size(picture.width, picture.height, field)
            return read(picture)
    except InvalidArgument:
        raise
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, EOFError, zlib.error, ... for broken files.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidArgument(f"broken {kind}: {reason}", field=f"{field}.data") from None


def _on_white(picture: PilImage.Image, mode: str) -> Pixels:
    """[height, width, channels] in that mode, `RGB` or `L`."""
    picture.load()
    # Cameras store what the sensor saw, and how it was held beside it.
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode in ("I;16", "I"):
        deep = np.asarray(picture, dtype=np.float64)
        scaled = (deep / 257.0).clip(0, 255).round().astype(np.uint8)
        picture = PilImage.fromarray(scaled)
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = PilImage.new("RGBA", layer.size, "white")
        picture = PilImage.alpha_composite(white, layer)
    return np.atleast_3d(np.asarray(picture.convert(mode)))


def _ids(picture: ImageFile, field: str) -> Pixels:
    # Pillow spreads grey of 1, 2 or 4 bits over 0 to 255, and tells so only until the pixels are loaded.
    spread = picture.mode == "L" and picture.tile[0].args != "L"
    if picture.mode not in ("P", "L") or spread:
        found = _NOT_IDS.get(picture.mode, "grey of less than 8 bits")
        raise InvalidArgument(
            f"this PNG holds {found}, not class ids; send a palette PNG, or a grey one of 8 bits",
            field=f"{field}.data",
        )
    return np.asarray(picture)


def _check_size(width: int, height: int, field: str) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise InvalidArgument(
            f"{width}x{height} pixels; sides must be {MIN_SIDE} to {MAX_SIDE}", field=field
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
