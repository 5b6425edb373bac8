"""The pixels in the raw images that services answer with."""

from typing import TYPE_CHECKING, Any

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import Internal

if TYPE_CHECKING:
    from faceloom.core.arrays import Pixels

RGB = image_pb2.IMAGE_FORMAT_RGB8
GREY = image_pb2.IMAGE_FORMAT_GRAY8
LABELS = image_pb2.IMAGE_FORMAT_LABELS8
_CHANNELS = {RGB: 3, GREY: 1, LABELS: 1}


def pixels_of(image: image_pb2.Image, expected: Any) -> "Pixels":
    """The pixels of a raw image: [height, width, 3] or [height, width].

    Raises:
        Internal: The service answered something else than was asked for.
    """
    # Not at the top: what a build will take is said without numpy, and reads the table of stages.
    import numpy as np

    channels = _CHANNELS[expected]
    if image.format != expected or len(image.data) != image.width * image.height * channels:
        raise Internal(
            f"a service answered {len(image.data)} bytes in format {image.format} for"
            f" {image.width}x{image.height} pixels in format {expected}"
        )
    shape = (image.height, image.width, channels) if channels > 1 else (image.height, image.width)
    return np.frombuffer(image.data, np.uint8).reshape(shape)


def raw_image(pixels: "Pixels") -> image_pb2.Image:
    """RGB pixels [height, width, 3] as services take them."""
    height, width, _ = pixels.shape
    return image_pb2.Image(format=RGB, width=width, height=height, data=pixels.tobytes())
