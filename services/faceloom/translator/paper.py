"""Drawings as people have them, on paper of any grey and in any light, to dark lines on white.

The encoders learned from black ink on paper of exactly 255. A scan is at 246, grey paper at 190, a photograph
is darker to one side. So the level of the paper is found and divided away, and ink is stretched to black:

1. The picture is cut into tiles. A smooth surface (a polynomial of the third degree in x and y) is fitted to
   their bright levels, again and again with less weight for tiles that lie far from it (Tukey's biweight),
   until it is the level of the paper alone: what microscopy calls background correction. Shadows, which are
   too sharp for it, are read off the tiles.
2. Levels are divided by it. The white point is where the noise of the paper ends, the black point is the ink.

The same measurements tell what is no drawing. Nothing is darker than what is around it: the sheet is empty.
Something is lighter instead: it was drawn on a dark ground, and is turned. There is hardly any paper, but
smooth shading that changes everywhere: it is a photograph.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from faceloom.core.arrays import Pixels
from faceloom.core.errors import InvalidArgument
from faceloom.core.image_files import INK

AnyFloats = npt.NDArray[np.floating[Any]]

_WHITE: Final = 255
# A sheet that is white in half of its pixels is as the encoders know it. One that is full of ink is, too,
# if a fifth is white, and its paper almost everywhere.
_CLEAN_SHARE, _SHADED_SHARE, _ALMOST_WHITE = 0.5, 0.2, 250
# The longer side of the picture that is measured, and the side of its tiles.
_SIDE, _TILE = 256, 16
# A quarter of a tile may be ink before this percentile is no longer its paper's.
_BRIGHT: Final = 75
# Degrees of the surface from coarse to fine, and how far from it, as a share of its level, tiles count.
_FITS: Final = ((1, (0.5, 0.3)), (2, (0.3, 0.2, 0.15)), (3, (0.15, 0.1, 0.08, 0.08)))
_DEGREE: Final = 3
# What is this near to the surface is paper.
_PAPER: Final = 0.06
# A line differs from what is around it by this share and by so many deviations of the noise, in so many
# pixels.
_LINE, _LINE_DEVIATIONS, _LEAST_LINES = 0.06, 5, 0.0005
# A surface that falls by no more than the first is a scanner's. Other light may throw shadows, which
# leave more of it than the second; they are what this percentile of a tile shows.
_EVEN, _SHADOW, _SHADOWED = 0.03, 0.45, 90
# What is below the level of the paper by so many deviations of its noise is white.
_WHITE_DEVIATIONS: Final = 2.5
# Ink that is no darker than this share of the paper is not stretched to black: its noise would be, too.
_FAINTEST: Final = 0.7
# A photograph has less paper than the first, more smooth shading than the second, and a larger step from
# tile to tile than the third. With hardly any paper, less of the others is enough.
_PHOTOGRAPHS: Final = ((0.45, 0.25, 0.035), (0.25, 0.09, 0.05))

_EMPTY_WHITE = f"the sketch is empty: no pixel is darker than {INK} of {_WHITE}"
_EMPTY = "the sketch is empty: nothing on it is darker than its paper"
_PHOTOGRAPH = (
    "this looks like a photograph, not like a drawing; `faceloom sketch` makes a drawing of it, or give it"
    " as a face (--task face)"
)


def on_white_paper(grey: Pixels) -> Pixels:
    """A drawing, uint8 [H, W] -> the same as dark lines on paper of 255, uint8 [H, W].

    What is on white paper already is returned as it is.

    Raises:
        InvalidArgument: There is nothing on the sheet, or it is a photograph; its field is `sketch`.
    """
    white = (grey == _WHITE).mean()
    if white >= _CLEAN_SHARE:
        check_not_white(grey)
        return grey
    if _is_on_dark_ground(_measured(grey)):
        grey = _WHITE - grey
    seen = _Seen.of(grey)
    if seen.is_photograph():
        raise InvalidArgument(_PHOTOGRAPH, field="sketch")
    if not seen.has_lines():
        raise InvalidArgument(_EMPTY, field="sketch")
    return grey if white >= _SHADED_SHARE and seen.is_white() else _whitened(grey, seen)


def check_not_white(grey: Pixels) -> None:
    """Make sure that a sheet has anything on it.

    Raises:
        InvalidArgument: All of it is white; its field is `sketch`.
    """
    if grey.min() >= INK:
        raise InvalidArgument(_EMPTY_WHITE, field="sketch")


@dataclass(frozen=True)
class _Seen:
    """What is measured in a picture of _SIDE pixels.

    Args:
        surface: Coefficients of the level of its paper, by the terms of `_terms`.
        levels: Shares of that level, smoothed, [h, w]; 1 is paper.
        noise: Standard deviation of the levels of paper.
    """

    surface: AnyFloats
    levels: AnyFloats
    noise: float

    @classmethod
    def of(cls, grey: Pixels) -> "_Seen":
        pixels = _measured(grey)
        surface = _surface(_tiles(pixels, _BRIGHT))
        levels = _smoothed(pixels / _level(surface, pixels.shape))
        return cls(surface, levels, _deviation(levels))

    def is_white(self) -> bool:
        return bool(np.median(_level(self.surface, self.levels.shape)) >= _ALMOST_WHITE)

    def has_lines(self) -> bool:
        lightest = 1 - max(_LINE, _LINE_DEVIATIONS * self.noise)
        around = _between(_tiles(self.levels, 50), self.levels.shape)
        # Edges of shadows, slopes and a scanner's margins have only one side that is lighter.
        pixels = self.levels * _level(self.surface, self.levels.shape)
        lines = (self.levels < lightest * around) & (pixels < lightest * _beside(pixels))
        return bool(lines.mean() >= _LEAST_LINES)

    def is_photograph(self) -> bool:
        paper = (np.abs(self.levels - 1) < _PAPER).mean()
        shading, step = self._shading(), self._step()
        return any(
            paper < most and shading >= least and step >= smallest
            for most, least, smallest in _PHOTOGRAPHS
        )

    def light(self, shape: tuple[int, ...]) -> AnyFloats:
        """The level that paper has in the light that falls on it, at h x w pixels, shadows included."""
        level = _level(self.surface, shape)
        if level.min() >= (1 - _EVEN) * level.max():
            return level
        shadows = _tiles(self.levels, _SHADOWED)
        # What is darker is no shadow but a place full of ink.
        lit: AnyFloats = level * _between(np.where(shadows < _SHADOW, 1, shadows), shape)
        return lit

    def _shading(self) -> float:
        """The share that is neither paper nor ink, and not at the edge of either."""
        darkest = min(float(np.percentile(self.levels, 2)), 0.9)
        darkness = (1 - self.levels) / (1 - darkest)
        slope = np.hypot(*np.gradient(darkness))
        steep = Image.fromarray((slope > 0.08).astype(np.uint8)).filter(ImageFilter.MaxFilter(5))
        between = (darkness > 0.15) & (darkness < 0.85)
        return float((between & (np.asarray(steep) == 0)).mean())

    def _step(self) -> float:
        """The median difference between tiles side by side, in logarithms of their bright levels."""
        logs = np.log(np.maximum(_tiles(self.levels, _BRIGHT), 0.05))
        steps = [np.abs(np.diff(logs, axis=axis)).ravel() for axis in (0, 1)]
        return float(np.median(np.concatenate(steps)))


def _is_on_dark_ground(pixels: AnyFloats) -> bool:
    """Whether most of [h, w] and of its border are dark, and lines are lighter than what is around them."""
    border = np.concatenate([*pixels[[0, -1]], *pixels[:, [0, -1]].T])
    if max(np.median(pixels), np.median(border)) > _WHITE / 2:
        return False
    change = _smoothed(pixels) - _between(_tiles(pixels, 50), pixels.shape)
    light, dark = ((sign * change > _LINE * _WHITE).mean() for sign in (1, -1))
    return bool(light > 2 * dark)


def _whitened(grey: Pixels, seen: _Seen) -> Pixels:
    """[H, W] with its paper at 255 and its ink at 0."""
    ratios = (grey / seen.light(grey.shape)).astype(np.float32)
    white = 1 - _WHITE_DEVIATIONS * _deviation(ratios)
    ink = ratios[ratios < white - _LINE]
    black = min(float(np.percentile(ink, 5)), _FAINTEST) if ink.size else 0.0
    stretched = (ratios - black) / (white - black) * _WHITE
    return np.asarray(stretched.round().clip(0, _WHITE), np.uint8)


def _measured(grey: Pixels) -> AnyFloats:
    """[H, W] -> [h, w] of whole tiles, the longer side _SIDE. Fine lines become faint, and so does noise."""
    scale = _SIDE / max(grey.shape)
    height, width = (max(1, round(side * scale / _TILE)) * _TILE for side in grey.shape)
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(grey).resize((width, height), way), np.float64)


def _tiles(values: AnyFloats, percentile: int) -> AnyFloats:
    """A percentile of each tile of [h, w]: [h / _TILE, w / _TILE]."""
    height, width = values.shape
    cut = values.reshape(height // _TILE, _TILE, width // _TILE, _TILE).swapaxes(1, 2)
    found: AnyFloats = np.percentile(cut.reshape(*cut.shape[:2], -1), percentile, axis=2)
    return found


def _beside(pixels: AnyFloats) -> AnyFloats:
    """How light it becomes on both sides of each pixel of [h, w], in its row or in its column."""
    sides = []
    for lines in (pixels, pixels.T):
        before = np.maximum.accumulate(lines, axis=1)
        behind = np.maximum.accumulate(lines[:, ::-1], axis=1)[:, ::-1]
        sides.append(np.minimum(before, behind))
    return np.maximum(sides[0], sides[1].T)


def _between(tiles: AnyFloats, shape: tuple[int, ...]) -> AnyFloats:
    """Values of tiles -> of h x w pixels, with straight slopes from one tile's middle to the next."""
    height, width = shape
    picture = Image.fromarray(tiles.astype(np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _terms(shape: tuple[int, ...], degree: int) -> Iterator[AnyFloats]:
    """The terms of a polynomial at the middles of h x w cells of a square from -1 to 1, constant first."""
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in shape)
    for total in range(degree + 1):
        for power in range(total + 1):
            yield np.outer(y**power, x ** (total - power))


def _level(surface: AnyFloats, shape: tuple[int, ...]) -> AnyFloats:
    """The level of the paper at h x w pixels, at least 1."""
    terms = zip(surface, _terms(shape, _DEGREE), strict=True)
    return np.maximum(sum((c * term for c, term in terms), start=np.zeros(shape)), 1)


def _surface(tiles: AnyFloats) -> AnyFloats:
    """The coefficients of the level of the paper under the bright levels of tiles."""
    fitted = np.full_like(tiles, max(1, np.percentile(tiles, _BRIGHT)))
    for degree, reaches in _FITS:
        terms = np.stack([term.ravel() for term in _terms(tiles.shape, degree)], 1)
        for reach in reaches:
            # What is above the surface may be paper that it has not reached yet; what is below may be ink.
            distance = tiles / fitted - 1
            distance = np.where(distance < 0, distance, distance / 2) / reach
            weights = np.sqrt((1 - distance**2).clip(0) ** 2 + 1e-3).ravel()
            found = np.linalg.lstsq(terms * weights[:, None], tiles.ravel() * weights, rcond=None)
            fitted = np.maximum(terms @ found[0], 1).reshape(tiles.shape)
    coefficients: AnyFloats = found[0]
    return coefficients


def _smoothed(values: AnyFloats) -> AnyFloats:
    """The binomial mean of 3 x 3 pixels."""
    padded = np.pad(values, 1, mode="edge")
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    mean: AnyFloats = (across[:-2] + 2 * across[1:-1] + across[2:]) / 16
    return mean


def _deviation(ratios: AnyFloats) -> float:
    """Of the paper among [h, w], by the median distance, which lines do not reach."""
    near = np.abs(ratios - 1)
    near = near[near < 2 * _PAPER]
    return 1.4826 * float(np.median(near)) if near.size else 0.0
