"""Drawings on every paper come to the encoder as the same drawing; what is no drawing does not."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage
from tests import samples

from faceloom.core.errors import InvalidArgument
from faceloom.translator.paper import on_white_paper

Y, X = np.mgrid[-1:1:256j, -1:1:256j]
DRAWING = samples.page(3)
# Light on paper that falls off to one side and to the corners.
LAMP = (1 + 0.3 * X + 0.1 * Y) * (1 - 0.1 * (X**2 + Y**2))
NOISE = np.random.RandomState(0).randn(256, 256)
BLANK = np.full((256, 256), 255, np.uint8)


def ink(drawing: samples.Array, paper: Any, darkest: float) -> samples.Array:
    """The drawing in ink that leaves a share of the light, on paper of that level."""
    levels = paper * (darkest + (1 - darkest) * drawing / 255.0)
    return np.asarray(np.clip(levels + 0.5, 0, 255), np.uint8)


def photographed(drawing: samples.Array, noise: float = 3) -> samples.Array:
    """As a camera saves it: uneven light, soft pencil, noise, JPEG."""
    levels = 160 * LAMP * (0.3 + 0.7 * drawing / 255.0) + noise * NOISE
    buffer = io.BytesIO()
    PilImage.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return np.asarray(PilImage.open(buffer))


def shadowed(drawing: samples.Array) -> samples.Array:
    """Half of the sheet in the shadow of the one who holds the camera."""
    edge = 1 / (1 + np.exp(-(X + 0.4 * Y) / 0.08))
    return np.asarray(photographed(drawing) * (1 - 0.4 * edge), np.uint8)


def shaded_face() -> samples.Array:
    """A head lit from one side before a wall, without any line. [256, 256]"""
    head = np.exp(-(((X / 0.45) ** 2 + (Y / 0.6) ** 2) ** 2))
    hair = np.exp(-(((X / 0.5) ** 2 + ((Y + 0.55) / 0.35) ** 2) ** 2))
    light = 90 + 40 * Y + 30 * np.sin(2 * X) + head * (70 - 60 * X - 30 * Y**2) - 90 * hair
    eyes = sum(np.exp(-(((X - s) / 0.08) ** 2 + ((Y + 0.1) / 0.05) ** 2)) for s in (-0.18, 0.18))
    return np.asarray(np.clip(light - 60 * eyes + 2 * NOISE, 0, 255), np.uint8)


PAPERS: dict[str, tuple[samples.Array, float]] = {
    "a scan at 246": (ink(DRAWING, 246, 0), 1),
    "a scan at 240": (ink(DRAWING, 240, 0), 1),
    "grey paper": (ink(DRAWING, 190, 0.3), 1),
    "dark paper": (ink(DRAWING, 100, 0.2), 2),
    "uneven light": (ink(DRAWING, 180 * LAMP, 0.3), 2),
    "a photograph": (photographed(DRAWING), 4),
    "a shadow": (shadowed(DRAWING), 8),
    "white on black": (255 - DRAWING, 1),
    "a dark page on a screen": (255 - ink(DRAWING, 225, 0.1), 1),
    "chalk on a board": (255 - ink(DRAWING, 255 - 80 * LAMP, 0.35), 4),
}


@pytest.mark.parametrize("name", PAPERS)
def test_on_every_paper_it_is_the_same_drawing(name: str) -> None:
    picture, most = PAPERS[name]

    drawing = on_white_paper(picture)

    assert np.median(drawing) == 255 and drawing.min() == 0
    assert np.abs(drawing.astype(int) - DRAWING).mean() < most


def hatched() -> samples.Array:
    """Lines all over a part of the sheet, every fourth column and row."""
    drawing = DRAWING.copy()
    drawing[60:200:4, 40:220] = drawing[60:200, 40:220:4] = 90
    return drawing


def marker() -> samples.Array:
    """Half of the sheet is black."""
    drawing = DRAWING.copy()
    drawing[100:230, 30:226] = 0
    return drawing


CLEAN: dict[str, Callable[[], samples.Array]] = {
    "lines": lambda: DRAWING,
    "hatching": hatched,
    "marker": marker,
    "grey lines": lambda: ink(255 - (DRAWING < 128).astype(np.uint8) * 60, 255, 0),
}


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_on_white_paper_stays_as_it_is(name: str) -> None:
    drawing = CLEAN[name]()

    assert (on_white_paper(drawing) == drawing).all()


EMPTY: dict[str, samples.Array] = {
    "grey": np.full((256, 256), 200, np.uint8),
    "black": np.zeros((64, 64), np.uint8),
    "noise": np.asarray(np.clip(200 + 9 * NOISE, 0, 255), np.uint8),
    "noise on dark": np.asarray(np.clip(90 + 9 * NOISE, 0, 255), np.uint8),
    "a slope": ink(BLANK, 220 * (1 - 0.3 * (X + 1) / 2), 0),
    "a photographed sheet": photographed(BLANK),
    "a slope from black to white": np.asarray(127.5 * (X + 1), np.uint8),
    "half of it in the shade": np.asarray(np.where(X + Y > 0, 230, 150), np.uint8),
    "a scanner's margins": np.pad(np.full((240, 240), 245, np.uint8), 8, constant_values=30),
    "dark corners": np.asarray(210 * (1 - 0.4 * (X**2 + Y**2) / 2) + 2 * NOISE, np.uint8),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_sheet_of_any_grey_without_lines_is_empty(name: str) -> None:
    with pytest.raises(InvalidArgument, match="the sketch is empty") as refused:
        on_white_paper(EMPTY[name])

    assert refused.value.field == "sketch"


@pytest.mark.parametrize("size", [(64, 64), (256, 256), (700, 500)])
def test_a_photograph_is_refused_and_says_what_to_do(size: tuple[int, int]) -> None:
    face = np.asarray(PilImage.fromarray(shaded_face()).resize(size, PilImage.Resampling.BICUBIC))

    with pytest.raises(InvalidArgument, match=r"looks like a photograph.*--task face") as refused:
        on_white_paper(face)

    assert refused.value.field == "sketch"


def test_a_drawing_full_of_hatching_is_no_photograph() -> None:
    assert np.median(on_white_paper(photographed(hatched()))) > 200


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (1000, 40)])
def test_sheets_of_every_shape(size: tuple[int, int]) -> None:
    sheet = np.full(size[::-1], 210, np.uint8)
    sheet[6:10, 6:10] = 40

    drawing = on_white_paper(sheet)

    assert drawing.shape == sheet.shape and (drawing[6:10, 6:10] == 0).all()
    assert np.median(drawing) == 255
