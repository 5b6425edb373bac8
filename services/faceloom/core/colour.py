"""Colours as a file means them: brought to sRGB by the ICC profile that is in the file, as browsers do."""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image as PilImage
from PIL import ImageCms

# The largest profiles, of printing presses, have two to three megabytes.
_LARGEST: Final = 2**22
# A profile that moves no colour by more than that, of 255, is one of the many of sRGB itself: pixels stay as
# they are.
_NOTHING: Final = 2

Conversion = Callable[[PilImage.Image], PilImage.Image]


def to_srgb(picture: PilImage.Image, profile: bytes | None) -> PilImage.Image:
    """A picture of sRGB colours.

    As in browsers, the rendering intent is perceptual, and a profile that is broken or of another kind of
    colours than the picture counts for nothing. Grey takes the profile of RGB, too.

    Args:
        picture: Of mode L, LA, RGB, RGBA or CMYK; those of CMYK become RGB, others keep their mode.
        profile: An ICC profile, or nothing for sRGB.
    """
    bands = picture.mode.removesuffix("A")
    convert = _conversion(profile, bands) if profile and len(profile) <= _LARGEST else None
    if convert is None:
        return picture.convert("RGB") if bands == "CMYK" else picture
    if bands == picture.mode:
        return convert(picture)
    converted = convert(picture.convert(bands))
    converted.putalpha(picture.getchannel("A"))
    return converted


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str) -> Conversion | None:
    """What brings pictures of mode L, RGB or CMYK to sRGB; None if nothing has to be done, or can be."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if mode == "L":
            return _of_grey(source, space)
        if space != mode:
            return None
        transform = _transform(source, mode)
        return None if mode == "RGB" and _changes_nothing(transform) else transform.apply
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _transform(source: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    # Without a cache of the last colour, threads share a transform.
    return ImageCms.ImageCmsTransform(
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        mode,
        "RGB",
        ImageCms.Intent.PERCEPTUAL,
        flags=ImageCms.Flags.NOCACHE,
    )


def _of_grey(source: ImageCms.ImageCmsProfile, space: str) -> Conversion | None:
    modes = {"GRAY": "L", "RGB": "RGB"}
    if space not in modes:
        return None
    ramp = PilImage.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(modes[space])
    # Grey is grey: what little red or blue the arithmetic leaves is dropped.
    curve = np.asarray(_transform(source, ramp.mode).apply(ramp))[0, :, 1].astype(int)
    if np.abs(curve - np.arange(256)).max() <= _NOTHING:
        return None
    return lambda picture: picture.point(curve.tolist())


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether colours all over the cube stay where they are."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    moved = np.asarray(transform.apply(PilImage.fromarray(cube))).astype(int) - cube
    return bool(np.abs(moved).max() <= _NOTHING)
