"""Requests that every service answers, and pictures to put into them."""

import io
import struct
import zlib
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from PIL import Image as PilImage
from PIL import ImageDraw

from faceloom.common.v1 import image_pb2
from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.service import services
from faceloom.translator.v1 import translator_pb2

Array: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

# Every service has one method.
_RPCS = {name: facts.descriptor.methods[0] for name, facts in services().items()}
METHODS = {name: rpc.name for name, rpc in _RPCS.items()}
REQUESTS = {name: GetMessageClass(rpc.input_type) for name, rpc in _RPCS.items()}
RESPONSES = {name: GetMessageClass(rpc.output_type) for name, rpc in _RPCS.items()}
# A response begins with its items.
ANSWERS = {name: rpc.output_type.fields[0].name for name, rpc in _RPCS.items()}
# Those that take a list of images, and answer each.
IMAGE_SERVICES = tuple(
    name for name, rpc in _RPCS.items() if "images" in rpc.input_type.fields_by_name
)


def face(number: int, width: int = 64, height: int = 64) -> Array:
    """A cartoon face on grain, another one for every number. [height, width, 3]"""
    random = np.random.RandomState(number)
    picture = PilImage.new("RGB", (width, height), tuple(random.randint(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    x, y = width // 2 + random.randint(-4, 5), height // 2 + random.randint(-4, 5)
    skin = tuple(random.randint(120, 256, 3).tolist())
    draw.ellipse([x - width // 3, y - height // 3, x + width // 3, y + height // 3], skin)
    for side in (-1, 1):
        eye = x + side * width // 8
        draw.ellipse([eye - 3, y - 8, eye + 3, y - 3], (20, 20, 60))
    draw.rectangle(
        [x - width // 8, y + height // 8, x + width // 8, y + height // 8 + 3], (150, 0, 0)
    )
    grain = random.randint(-20, 21, (height, width, 3))
    return (np.asarray(picture).astype(int) + grain).clip(0, 255).astype(np.uint8)


def page(number: int = 0, height: int = 256, width: int = 256) -> Array:
    """A drawing of a head, another one for every number. [height, width]"""
    random = np.random.RandomState(number)
    picture = PilImage.new("L", (width, height), 255)
    draw = ImageDraw.Draw(picture)
    x, y = width // 2 + random.randint(-20, 21), height // 2 + random.randint(-20, 21)
    draw.ellipse(
        [x - width // 4, y - height // 3, x + width // 4, y + height // 3], outline=0, width=3
    )
    for _ in range(6):
        draw.line(random.randint(0, min(width, height), 4).tolist(), random.randint(0, 120), 3)
    return np.asarray(picture)


def raw(pixels: Array) -> image_pb2.Image:
    """Pixels as RGB8 or GRAY8."""
    colour = pixels.ndim == 3
    return image_pb2.Image(
        format=image_pb2.IMAGE_FORMAT_RGB8 if colour else image_pb2.IMAGE_FORMAT_GRAY8,
        width=pixels.shape[1],
        height=pixels.shape[0],
        data=pixels.tobytes(),
    )


def file(picture: PilImage.Image | Array, kind: str = "PNG", **options: Any) -> image_pb2.Image:
    """A picture as a file of that kind."""
    if not isinstance(picture, PilImage.Image):
        picture = PilImage.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return image_pb2.Image(
        format=image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{kind}"), data=buffer.getvalue()
    )


def png_header(width: int, height: int, colour_type: int = 2) -> bytes:
    """The beginning of a PNG that claims that size, and one row of compressed zeros."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(1 + 3 * min(width, 100)))),
            (b"IEND", b""),
        )
    )


def png_bomb(side: int) -> image_pb2.Image:
    """A PNG of a few kilobytes that claims side x side pixels."""
    return image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=png_header(side, side))


def request(name: str, *numbers: int) -> Message:
    """A good request for the service, one item per number."""
    numbers = numbers or (1,)
    if name == "generator":
        return generator_pb2.GenerateRequest(seeds=numbers, truncation_psi=0.7)
    if name == "translator":
        # Of one drawing: what may differ from item to item is the style.
        return translator_pb2.TranslateRequest(
            sketch=raw(page()), variants=len(numbers), style_latents=styles(*numbers)
        )
    return with_images(name, *(raw(face(number)) for number in numbers))


def styles(*numbers: int) -> translator_pb2.StyleLatents:
    """A w for every number, of the 100 values that the tiny generator's have."""
    return translator_pb2.StyleLatents(
        latents=[
            generator_pb2.Latent(
                values=np.random.RandomState(number).randn(100),
                space=generator_pb2.LATENT_SPACE_W,
            )
            for number in numbers
        ]
    )


def with_images(name: str, *images: image_pb2.Image, **fields: Any) -> Message:
    """A request to one of the services that take images."""
    return REQUESTS[name](images=images, **fields)


def items(name: str, response: bytes) -> list[bytes]:
    """The serialized items of a response, in order."""
    message = RESPONSES[name].FromString(response)
    return [item.SerializeToString() for item in getattr(message, ANSWERS[name])]
