"""ICC profiles: pixels are brought to sRGB. What is right comes from the definitions of the colour spaces."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image as PilImage
from tests import profiles, samples
from tests.samples import Array

from faceloom.common.v1 import image_pb2
from faceloom.core.images import decode_grey, decode_rgb

SPACES = {
    "Display P3": (profiles.P3, None),
    "Adobe RGB": (profiles.ADOBE, 2.2),
    "ProPhoto": (profiles.PROPHOTO, 1.8),
}


def patches() -> Array:
    """Colours of sRGB that every larger space has, [24, 24, 3], in areas for codecs that mix neighbours."""
    return (
        np.random.RandomState(3)
        .randint(40, 216, (3, 3, 3))
        .repeat(8, 0)
        .repeat(8, 1)
        .astype(np.uint8)
    )


def stored(colours: Array, primaries: profiles.Primaries, gamma: float | None) -> Array:
    """The same colours in another space, by the definitions of both."""
    there = np.linalg.inv(profiles.to_xyz(primaries)) @ profiles.to_xyz(profiles.SRGB)
    light = (profiles.linear(colours / 255) @ there.T).clip(0, 1)
    values = profiles.encoded(light) if gamma is None else light ** (1 / gamma)
    return (values * 255).round().astype(np.uint8)


def apart(one: Array, other: Array) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize(("kind", "most"), [("PNG", 2), ("WEBP", 2), ("JPEG", 5)])
@pytest.mark.parametrize("space", SPACES)
def test_the_same_colours_are_the_same_pixels(space: str, kind: str, most: int) -> None:
    primaries, gamma = SPACES[space]
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    there = stored(patches(), primaries, gamma)
    assert apart(there, patches()) > 10

    image = samples.file(there, kind, icc_profile=profiles.rgb(primaries, gamma), **options)

    assert apart(decode_rgb(image, "f"), patches()) <= most


def test_the_red_of_a_telephone_is_more_than_srgb_has() -> None:
    # Display P3's 0.9 red, in published tables: outside sRGB, so green and blue are 0.
    red = np.zeros((16, 16, 3), np.uint8)
    red[:] = (230, 0, 0)

    image = samples.file(red, icc_profile=profiles.rgb(profiles.P3))

    # 1.2249 of sRGB's light: encoded 1.0 at most.
    light = 1.2249 * profiles.linear(np.array(230 / 255))
    wanted = round(float(profiles.encoded(light)) * 255)
    assert apart(decode_rgb(image, "f")[0, 0], np.array([wanted, 0, 0], np.uint8)) <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pixels_of_srgb_stay_as_they_are(kind: str) -> None:
    pixels = samples.face(3)
    options = {"lossless": True} if kind == "WEBP" else {}

    image = samples.file(pixels, kind, icc_profile=profiles.rgb(profiles.SRGB), **options)

    assert (decode_rgb(image, "f") == pixels).all()


def test_alpha_is_no_colour() -> None:
    layer = np.full((24, 24, 1), 255, np.uint8)
    layer[:, 12:] = 0
    there = stored(patches(), profiles.P3, None)
    picture = PilImage.fromarray(np.concatenate([there, layer], axis=2))

    decoded = decode_rgb(samples.file(picture, icc_profile=profiles.rgb(profiles.P3)), "f")

    assert apart(decoded[:, :12], patches()[:, :12]) <= 2
    assert (decoded[:, 12:] == 255).all()


def test_palettes_have_profiles_too() -> None:
    there = stored(patches(), profiles.ADOBE, 2.2)
    picture = PilImage.fromarray(there).quantize(9, dither=PilImage.Dither.NONE)

    decoded = decode_rgb(samples.file(picture, icc_profile=profiles.rgb(profiles.ADOBE, 2.2)), "f")

    assert apart(decoded, patches()) <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_is_brought_to_the_curve_of_srgb(mode: str) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wanted = (profiles.encoded((ramp / 255) ** 1.8) * 255).round().astype(np.uint8)
    deep = PilImage.fromarray(ramp.astype(np.uint16) * 257)
    picture = deep if mode == "I;16" else PilImage.fromarray(ramp).convert(mode)

    image = samples.file(picture, icc_profile=profiles.grey(1.8))

    assert apart(decode_grey(image, "f"), wanted) <= 1
    assert (decode_rgb(image, "f") == decode_grey(image, "f")[..., None]).all()


def test_grey_takes_the_curve_of_a_profile_of_colours() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wanted = (profiles.encoded((ramp / 255) ** 1.8) * 255).round().astype(np.uint8)

    image = samples.file(ramp, "JPEG", quality=100, icc_profile=profiles.rgb(profiles.SRGB, 1.8))

    assert apart(decode_grey(image, "f"), wanted) <= 3


def test_inks_become_what_their_profile_says() -> None:
    inks = PilImage.new("CMYK", (16, 16), (0, 0, 0, 128))

    printed = samples.file(inks, "JPEG", quality=100, icc_profile=profiles.cmyk())

    # L* 100 - 60 * 128 / 255 = 69.9; Y = ((69.9 + 16) / 116)^3 = 0.406; in sRGB 0.670 * 255 = 171.
    assert apart(decode_rgb(printed, "f"), np.full((16, 16, 3), 171, np.uint8)) <= 2
    # Without a profile, as before: 255 - 128.
    assert apart(decode_rgb(samples.file(inks, "JPEG"), "f"), np.full((16, 16, 3), 127)) <= 1


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        profiles.rgb(profiles.P3)[:200],
        profiles.rgb(profiles.P3)[:128] + bytes(400),
        profiles.grey(1.8),
        profiles.cmyk(),
        bytes(2**22 + 1),
    ],
)
def test_a_profile_that_is_of_no_use_counts_for_nothing(profile: bytes) -> None:
    pixels = samples.face(3)

    image = samples.file(pixels, "WEBP", lossless=True, icc_profile=profile)

    assert (decode_rgb(image, "f") == pixels).all()


def test_threads_read_the_same_colours() -> None:
    images: list[image_pb2.Image] = [
        samples.file(samples.face(number), icc_profile=profiles.rgb(*SPACES[space]))
        for number, space in enumerate([*SPACES] * 4)
    ]
    alone = [decode_rgb(image, "f").tobytes() for image in images]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: decode_rgb(image, "f").tobytes(), images * 8))

    assert together == alone * 8
