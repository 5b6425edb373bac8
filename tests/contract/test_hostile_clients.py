"""What strangers send to the real services: every bad call gets a code, and the field or the time to come
back; and the service answers the next good call as if nothing had happened."""

import math
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from tests import rpc, samples

from faceloom.common.v1 import image_pb2
from faceloom.generator.v1 import generator_pb2 as gen
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.front import Front
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import MAX_MESSAGE_BYTES, service
from faceloom.sketch.v1 import sketch_pb2
from faceloom.translator.v1 import translator_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Running:
    """One front with its model, and what it answers to a good call."""

    channel: grpc.aio.Channel
    good: bytes


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(handler_of: Callable[[str], AnyHandler]) -> AsyncIterator[dict[str, Running]]:
    """All fronts, in this process, with their shipped models."""
    fronts: list[Front] = []
    channels: list[Any] = []
    made: dict[str, Running] = {}
    for name in samples.METHODS:
        front = Front(service(name), InProcessEngine(handler_of(name)), "127.0.0.1:0")
        await front.start()
        fronts.append(front)
        channels.append(rpc.connect(front.port))
        channel = await channels[-1].__aenter__()
        made[name] = Running(channel, await rpc.call(channel, name, samples.request(name)))
    yield made
    for opened in channels:
        await opened.__aexit__(None, None, None)
    for front in fronts:
        await front.stop(grace=0)


async def refused(running: dict[str, Running], name: str, request: Message | bytes) -> rpc.Refusal:
    """The answer to a bad request; the next good one has to be answered as before."""
    there = running[name]
    refusal = await rpc.refusal(rpc.call(there.channel, name, request))
    assert await rpc.call(there.channel, name, samples.request(name)) == there.good
    return refusal


def damaged(image: image_pb2.Image, **changes: Any) -> image_pb2.Image:
    made = image_pb2.Image()
    made.CopyFrom(image)
    for field, value in changes.items():
        setattr(made, field, value)
    return made


PIXELS = samples.face(1)
PNG = samples.file(PIXELS)
RAW = samples.raw(PIXELS)

# What is wrong with the second image of a call, and which field is named.
BAD_IMAGES: dict[str, tuple[image_pb2.Image, str]] = {
    "nothing": (image_pb2.Image(), "images[1].format"),
    "truncated PNG": (damaged(PNG, data=PNG.data[: len(PNG.data) // 2]), "images[1].data"),
    "garbage": (damaged(PNG, data=b"\x00" * 1000), "images[1].data"),
    "a BMP": (damaged(PNG, data=b"BM" + bytes(100)), "images[1].data"),
    "1 pixel": (samples.file(PIXELS[:1, :1]), "images[1]"),
    "1 raw pixel": (samples.raw(PIXELS[:1, :1]), "images[1]"),
    "30,000 pixels wide": (samples.file(np.zeros((16, 30_000), np.uint8)), "images[1]"),
    "bomb of 30,000 x 30,000": (samples.png_bomb(30_000), "images[1]"),
    "raw claim of 30,000 x 30,000": (damaged(RAW, width=30_000, height=30_000), "images[1].data"),
    "raw claim of 2^32 - 1": (damaged(RAW, width=2**32 - 1, height=2**32 - 1), "images[1].data"),
    "4 channels": (damaged(RAW, data=RAW.data + bytes(64 * 64)), "images[1].data"),
    "1 channel": (damaged(RAW, data=RAW.data[: 64 * 64]), "images[1].data"),
    "labels": (damaged(RAW, format=image_pb2.IMAGE_FORMAT_LABELS8), "images[1].format"),
    "unknown format": (damaged(RAW, format=99), "images[1].format"),
    "negative format": (damaged(RAW, format=-1), "images[1].format"),
}


@pytest.mark.parametrize("name", samples.IMAGE_SERVICES)
@pytest.mark.parametrize("bad", BAD_IMAGES)
async def test_a_bad_image_is_refused_by_its_place(
    running: dict[str, Running], name: str, bad: str
) -> None:
    image, field = BAD_IMAGES[bad]

    error = await refused(running, name, samples.with_images(name, RAW, image, RAW))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert error.field == field


def to_translate(field: str, image: image_pb2.Image) -> translator_pb2.TranslateRequest:
    """A request with that picture in that field, and a good drawing unless the field is in its place."""
    request = translator_pb2.TranslateRequest(sketch=RAW)
    where: Any = request.layout.image if field == "layout.image" else getattr(request, field)
    where.CopyFrom(image)
    return request


@pytest.mark.parametrize("field", ["sketch", "style_reference"])
@pytest.mark.parametrize("bad", BAD_IMAGES)
async def test_a_bad_picture_to_translate_is_refused_by_its_field(
    running: dict[str, Running], field: str, bad: str
) -> None:
    image, place = BAD_IMAGES[bad]

    error = await refused(running, "translator", to_translate(field, image))

    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert error.field == place.replace("images[1]", field)


BOMB = samples.png_bomb(30_000)
BOMBS = [(name, samples.with_images(name, *[BOMB] * 64)) for name in samples.IMAGE_SERVICES]
BOMBS += [
    ("translator", to_translate(field, BOMB))
    for field in ("sketch", "layout.image", "style_reference")
]


@pytest.mark.parametrize(("name", "bombs"), BOMBS)
async def test_a_bomb_costs_no_time(running: dict[str, Running], name: str, bombs: Message) -> None:
    started = time.process_time()
    error = await rpc.refusal(rpc.call(running[name].channel, name, bombs))

    assert "30000x30000" in error.message

    # One picture of that size alone takes many seconds to unpack.
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", samples.METHODS)
async def test_an_empty_request_is_refused(running: dict[str, Running], name: str) -> None:
    error = await refused(running, name, b"")

    assert error.code == "INVALID_ARGUMENT"
    assert error.field == {"generator": "seeds", "translator": "condition"}.get(name, "images")


@pytest.mark.parametrize("name", samples.IMAGE_SERVICES)
@pytest.mark.parametrize("count", [65, 5000])
async def test_too_many_images_are_refused(
    running: dict[str, Running], name: str, count: int
) -> None:
    tiny = samples.raw(PIXELS[:16, :16])

    error = await refused(running, name, samples.with_images(name, *[tiny] * count))

    assert (error.code, error.field) == ("INVALID_ARGUMENT", "images")
    assert error.reason == "TOO_MANY_ITEMS"
    assert "64" in error.message


@pytest.mark.parametrize("count", [17, 2**32 - 1])
async def test_too_many_variants_are_refused(running: dict[str, Running], count: int) -> None:
    request = translator_pb2.TranslateRequest(sketch=RAW, variants=count, style_seed=1)

    error = await refused(running, "translator", request)

    assert (error.code, error.field) == ("INVALID_ARGUMENT", "variants")
    assert error.reason == "TOO_MANY_ITEMS"
    assert "1 to 16" in error.message


@pytest.mark.parametrize("name", samples.METHODS)
@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"GET / HTTP/1.1\r\n", struct.pack("<Q", 7)],
)
async def test_bytes_that_are_no_message_are_refused(
    running: dict[str, Running], name: str, garbage: bytes
) -> None:
    error = await refused(running, name, garbage)

    assert error.code == "INVALID_ARGUMENT"
    assert error.field is not None


@pytest.mark.parametrize("name", samples.METHODS)
async def test_an_unknown_model_version_is_not_loaded(
    running: dict[str, Running], name: str
) -> None:
    request: Any = samples.request(name)
    request.model_version = "no such version"

    error = await refused(running, name, request)

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_LOADED")
    assert error.field == "model_version"


@pytest.mark.parametrize("name", samples.METHODS)
async def test_an_enormous_model_version_is_answered_all_the_same(
    running: dict[str, Running], name: str
) -> None:
    request: Any = samples.request(name)
    request.model_version = "ü\n" * 500_000

    error = await refused(running, name, request)

    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_LOADED")
    assert error.field == "model_version"


@pytest.mark.parametrize("name", ["generator", "segmentation", "sketch", "translator"])
@pytest.mark.parametrize("wrong", [99, -1, 2**31 - 1])
async def test_an_output_format_that_does_not_exist_is_refused(
    running: dict[str, Running], name: str, wrong: int
) -> None:
    request: Any = samples.request(name)
    request.output_format = wrong

    error = await refused(running, name, request)

    assert (error.code, error.field) == ("INVALID_ARGUMENT", "output_format")


@pytest.mark.parametrize("name", samples.METHODS)
@pytest.mark.parametrize("extra", [1, MAX_MESSAGE_BYTES + 1])
async def test_a_message_over_the_limit_is_refused(
    running: dict[str, Running], name: str, extra: int
) -> None:
    error = await refused(running, name, bytes(MAX_MESSAGE_BYTES + extra))

    assert error.code == "RESOURCE_EXHAUSTED"
    if extra == 1:
        assert (error.reason, error.field) == ("MESSAGE_TOO_LARGE", "(message)")


def latent(count: int, space: int = gen.LATENT_SPACE_Z, value: float = 0.0) -> gen.Latent:
    return gen.Latent(values=[value] * count, space=gen.LatentSpace.ValueType(space))


# The tiny generator has latents of 100 values and 10 layers.
BAD_GENERATE: dict[str, tuple[gen.GenerateRequest, str]] = {
    "10,000 seeds": (gen.GenerateRequest(seeds=range(10_000)), "seeds"),
    "65 seeds": (gen.GenerateRequest(seeds=range(65)), "seeds"),
    "seeds and latents": (gen.GenerateRequest(seeds=[1], latents=[latent(100)]), "seeds"),
    "NaN psi": (gen.GenerateRequest(seeds=[1], truncation_psi=math.nan), "truncation_psi"),
    "infinite psi": (gen.GenerateRequest(seeds=[1], truncation_psi=math.inf), "truncation_psi"),
    "negative psi": (gen.GenerateRequest(seeds=[1], truncation_psi=-0.1), "truncation_psi"),
    "huge psi": (gen.GenerateRequest(seeds=[1], truncation_psi=1.6), "truncation_psi"),
    "cutoff": (gen.GenerateRequest(seeds=[1], truncation_cutoff=2**32 - 1), "truncation_cutoff"),
    "noise": (gen.GenerateRequest(seeds=[1], noise_mode=9), "noise_mode"),  # type: ignore[arg-type]
    "labels": (
        gen.GenerateRequest(seeds=[1], output_format=image_pb2.IMAGE_FORMAT_LABELS8),
        "output_format",
    ),
    "65 latents": (gen.GenerateRequest(latents=[latent(100)] * 65), "latents"),
    "latent without a space": (
        gen.GenerateRequest(latents=[latent(100, 0)]),
        "latents[0].space",
    ),
    "latent of an unknown space": (
        gen.GenerateRequest(latents=[latent(100), latent(100, 77)]),
        "latents[1].space",
    ),
    "latents of two spaces": (
        gen.GenerateRequest(latents=[latent(100), latent(100, gen.LATENT_SPACE_W)]),
        "latents[1].space",
    ),
    "short latent": (gen.GenerateRequest(latents=[latent(99)]), "latents[0].values"),
    "long latent": (gen.GenerateRequest(latents=[latent(10**6)]), "latents[0].values"),
    "empty latent": (gen.GenerateRequest(latents=[latent(0)]), "latents[0].values"),
    "w+ of one layer": (
        gen.GenerateRequest(latents=[latent(100, gen.LATENT_SPACE_W_PLUS)]),
        "latents[0].values",
    ),
    "NaN latent": (
        gen.GenerateRequest(latents=[latent(100), latent(100, value=math.nan)]),
        "latents[1].values",
    ),
    "infinite latent": (
        gen.GenerateRequest(latents=[latent(100, value=-math.inf)]),
        "latents[0].values",
    ),
}


@pytest.mark.parametrize("bad", BAD_GENERATE)
async def test_a_bad_wish_for_faces_is_refused_by_its_field(
    running: dict[str, Running], bad: str
) -> None:
    request, field = BAD_GENERATE[bad]

    error = await refused(running, "generator", request)

    too_many = bad in ("65 seeds", "10,000 seeds", "65 latents")
    reason = "TOO_MANY_ITEMS" if too_many else "INVALID_ARGUMENT"
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason)
    assert error.field == field


async def test_a_latent_of_enormous_values_does_no_harm(running: dict[str, Running]) -> None:
    huge = gen.GenerateRequest(latents=[latent(100, gen.LATENT_SPACE_W, 3e38)])
    there = running["generator"]

    answer = await rpc.call(there.channel, "generator", huge)

    assert len(gen.GenerateResponse.FromString(answer).faces) == 1
    assert await rpc.call(there.channel, "generator", samples.request("generator")) == there.good


async def test_a_style_that_does_not_exist_is_refused(running: dict[str, Running]) -> None:
    request = sketch_pb2.SketchRequest(images=[RAW], style=5)  # type: ignore[arg-type]

    error = await refused(running, "sketch", request)

    assert (error.code, error.field) == ("INVALID_ARGUMENT", "style")


@pytest.mark.parametrize("name", samples.IMAGE_SERVICES)
@pytest.mark.parametrize(("width", "height"), [(16, 16), (16, 600), (1000, 16), (97, 61)])
async def test_pictures_of_any_allowed_shape_are_answered(
    running: dict[str, Running], name: str, width: int, height: int
) -> None:
    pixels = np.resize(samples.face(3), (height, width, 3))

    answer = await rpc.call(
        running[name].channel, name, samples.with_images(name, samples.raw(pixels))
    )

    assert len(samples.items(name, answer)) == 1
