"""Augmentation of what an encoder sees; the face it has to answer stays as it is.

People complain that a published pSp answers every hand drawing with the same face: it has only seen the
lines of one edge detector. So lines here grow and shrink, break off, wobble, fade and harden. Whatever
moves a picture stays so small that the face still fits.

Chance comes in as a row of uniform numbers per picture, so the result does not depend on the batch.
"""

import math
from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.translator.model import SEGMENTATION, SKETCH

# Numbers that one picture takes at most.
DRAWS: Final = 72

_DEGREES, _SCALE, _SHIFT, _WOBBLE = 3.0, 0.03, 0.03, 0.012
_KNOTS = 4
_PATCHES, _PATCH = 2, 0.12
_STROKES, _STROKE_LENGTH, _STROKE_WIDTH = 4, 0.3, 0.03
# Pictures that stay as they are.
_CLEAN = 0.3


class Draws:
    """Uniform numbers, handed out in order.

    Args:
        rows: [N, DRAWS] in [0, 1), a row per picture.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._next = 0

    def between(self, low: float, high: float, count: int = 1) -> Tensor:
        """The next numbers of every picture, in [low, high): [N, count]."""
        taken = self._rows[:, self._next : self._next + count]
        assert taken.shape[1] == count, "DRAWS is too small"
        self._next += count
        return low + (high - low) * taken


def augment(task: str, picture: Tensor, draws: Draws, strength: float) -> Tensor:
    """Pictures of a task, changed.

    Args:
        task: `sketch`: float [N, 1, S, S] in [0, 1], white is 1; `segmentation`: label ids, uint8
            [N, 1, S, S]; `face`: float [N, 3, S, S] in [-1, 1].
        picture: As the task says.
        draws: A row for every picture.
        strength: 0 changes nothing, 1 is the default.

    Returns:
        The same shape, type and range.
    """
    if strength == 0:
        return picture
    if task == SKETCH:
        return augment_sketch(picture, draws, strength)
    if task == SEGMENTATION:
        # Ids are names: nearest, and nothing but moves.
        return warp(picture.float(), draws, strength, "nearest").byte()
    return colour_jitter(picture, draws, strength)


def augment_sketch(sketch: Tensor, draws: Draws, strength: float) -> Tensor:
    """Every change of drawings, one after the other; some drawings are left as they are."""
    clean = draws.between(0, 1)[..., None, None] < _CLEAN
    changed = warp(sketch, draws, strength)
    changed = stroke_width(changed, draws, strength)
    changed = erase_patches(changed, draws, strength)
    changed = erase_strokes(changed, draws, strength)
    changed = contrast(changed, draws, strength)
    return torch.where(clean, sketch, changed)


def warp(
    picture: Tensor,
    draws: Draws,
    strength: float,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Turn, scale, shift and wobble [N, C, S, S]; what comes in from outside repeats the border."""
    angle = draws.between(-1, 1)[:, 0] * (strength * math.radians(_DEGREES))
    scale = 1 + draws.between(-1, 1)[:, 0] * strength * _SCALE
    # Coordinates run over two units.
    shift = draws.between(-2, 2, 2) * strength * _SHIFT
    knots = draws.between(-2, 2, 2 * _KNOTS**2) * strength * _WOBBLE
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(picture.shape), align_corners=False)
    wobble = F.interpolate(
        knots.view(-1, 2, _KNOTS, _KNOTS), picture.shape[2:], mode="bicubic", align_corners=True
    )
    grid = grid + wobble.movedim(1, -1)
    return F.grid_sample(picture, grid, mode, padding_mode="border", align_corners=False)


def stroke_width(sketch: Tensor, draws: Draws, strength: float) -> Tensor:
    """Blend [N, 1, S, S] with its lines a pixel wider on each side, or a little with thinner ones."""
    wider, thinner = _extreme(sketch, torch.minimum), _extreme(sketch, torch.maximum)
    amount = draws.between(-0.5, 1)[..., None, None] * strength
    return torch.where(
        amount > 0, torch.lerp(sketch, wider, amount), torch.lerp(sketch, thinner, -amount)
    )


def erase_patches(sketch: Tensor, draws: Draws, strength: float) -> Tensor:
    """Leave rectangles of [N, 1, S, S] white."""
    y, x = _coordinates(sketch)
    centre = draws.between(0, 1, 2 * _PATCHES)[..., None, None]
    # Half of the rectangles have no height.
    high = draws.between(-_PATCH, _PATCH, _PATCHES)[..., None, None] * strength
    wide = draws.between(0, _PATCH, _PATCHES)[..., None, None] * strength
    inside = ((y - centre[:, ::2]).abs() < high) & ((x - centre[:, 1::2]).abs() < wide)
    return sketch.masked_fill(inside.any(1, keepdim=True), 1.0)


def erase_strokes(sketch: Tensor, draws: Draws, strength: float) -> Tensor:
    """Draw over [N, 1, S, S] with a white pen: lines get gaps."""
    y, x = _coordinates(sketch)
    start_y, start_x = draws.between(0, 1, 2 * _STROKES)[..., None, None].chunk(2, 1)
    angle = draws.between(-math.pi, math.pi, _STROKES)[..., None, None]
    length = draws.between(0, _STROKE_LENGTH, _STROKES)[..., None, None] * strength
    width = draws.between(-_STROKE_WIDTH, _STROKE_WIDTH, _STROKES)[..., None, None] * strength
    across, along = y - start_y, x - start_x
    # Where on the stroke every pixel is nearest to it.
    nearest = (across * angle.sin() + along * angle.cos()).clamp(min=0).minimum(length)
    square = (across - nearest * angle.sin()) ** 2 + (along - nearest * angle.cos()) ** 2
    inside = (square < width**2) & (width > 0)
    return sketch.masked_fill(inside.any(1, keepdim=True), 1.0)


def contrast(sketch: Tensor, draws: Draws, strength: float) -> Tensor:
    """Lines of [N, 1, S, S] paler, softer, or as hard as a pen's."""
    ink = 1 - sketch
    gamma = (draws.between(-0.5, 0.5)[..., None, None] * strength).exp()
    hard = draws.between(-0.8, 0.8)[..., None, None].clamp(min=0) * strength
    pale = 1 - draws.between(0, 0.5)[..., None, None] * strength
    ink = torch.lerp(ink.clamp(min=1e-6) ** gamma, ((ink - 0.35) * 12).sigmoid(), hard)
    return (1 - ink * pale).clamp(0, 1)


def colour_jitter(face: Tensor, draws: Draws, strength: float) -> Tensor:
    """Change the light on [N, 3, S, S] a little: a gain for every channel, one brightness."""
    gain = 1 + draws.between(-0.06, 0.06, 3)[..., None, None] * strength
    brightness = draws.between(-0.08, 0.08)[..., None, None] * strength
    return (face * gain + brightness).clamp(-1, 1)


def _extreme(picture: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The extreme of every pixel and its eight neighbours; several times faster than pooling on CPU."""
    x = F.pad(picture, (1, 1, 1, 1), mode="replicate")
    x = choose(choose(x[..., :-2, :], x[..., 1:-1, :]), x[..., 2:, :])
    return choose(choose(x[..., :-2], x[..., 1:-1]), x[..., 2:])


def _coordinates(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel, 0 to 1: [S, 1] and [S]."""
    side = picture.shape[-1]
    places = (torch.arange(side, device=picture.device) + 0.5) / side
    return places[:, None], places
