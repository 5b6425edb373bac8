"""Augmentations: each changes what it says, stays in range, and depends on its own numbers alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from faceloom.training.translator.augment import (
    DRAWS,
    Draws,
    augment,
    augment_sketch,
    contrast,
    erase_patches,
    erase_strokes,
    stroke_width,
    warp,
)
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH

SKETCH_CHANGES = {
    "warp": warp,
    "stroke width": stroke_width,
    "patches": erase_patches,
    "strokes": erase_strokes,
    "contrast": contrast,
    "all": augment_sketch,
}


def draws(count: int, seed: int = 0) -> Draws:
    return Draws(torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed)))


def drawing(count: int = 1) -> Tensor:
    """Dark lines across, paler ones down, on a white sheet [N, 1, 64, 64]."""
    sheet = torch.ones(count, 1, 64, 64)
    sheet[..., 4:60, 8:60:12] = 0.5
    sheet[..., 8:60:12, 4:60] = 0.0
    return sheet


def layout(count: int = 1) -> Tensor:
    """Four areas of far ids, uint8 [N, 1, 64, 64]."""
    ids = torch.zeros(count, 1, 64, 64, dtype=torch.uint8)
    ids[..., 32:, :] = 4
    ids[..., :, 32:] += 14
    return ids


@pytest.mark.parametrize("name", SKETCH_CHANGES)
def test_every_change_of_drawings_changes_them_within_range(name: str) -> None:
    change = SKETCH_CHANGES[name]
    before = drawing(32)

    after = change(before, draws(32), 1.0)

    assert after.shape == before.shape and after.dtype == before.dtype
    assert after.min() >= 0 and after.max() <= 1 + 1e-6
    changed = (after - before).abs().amax((1, 2, 3)) > 0.1
    assert changed.float().mean() > 0.3
    # Whatever happens to it, it stays a drawing: mostly white, not all white.
    assert (after.mean((1, 2, 3)) > 0.5).all() and (after.amin((1, 2, 3)) < 0.9).all()


@pytest.mark.parametrize("name", SKETCH_CHANGES)
def test_a_change_follows_from_the_pictures_own_numbers(name: str) -> None:
    change = SKETCH_CHANGES[name]
    rows = torch.rand(8, DRAWS, generator=torch.Generator().manual_seed(1))
    sheets = 1 - drawing(8)  # everywhere ink but on some lines, so that nothing passes unseen

    together = change(sheets, Draws(rows), 1.0)

    assert torch.equal(together, change(sheets, Draws(rows), 1.0))
    for index in range(8):
        alone = change(sheets[:1], Draws(rows[index : index + 1]), 1.0)
        torch.testing.assert_close(alone[0], together[index], atol=1e-6, rtol=0)
    assert not torch.equal(together[0], together[1])


def test_some_drawings_stay_as_they_are() -> None:
    before = drawing(200)
    after = augment_sketch(before, draws(200), 1.0)

    untouched = (after == before).all(3).all(2).all(1)
    assert 0.2 < untouched.float().mean() < 0.4


@pytest.mark.parametrize(
    ("task", "picture"),
    [(SKETCH, drawing(4)), (SEGMENTATION, layout(4)), (FACE, torch.rand(4, 3, 64, 64) * 2 - 1)],
)
def test_strength_0_changes_nothing_and_more_changes_more(task: str, picture: Tensor) -> None:
    assert torch.equal(augment(task, picture, draws(4), 0.0), picture)
    little, much = (
        (augment(task, picture, draws(4), strength).float() - picture.float()).abs().mean()
        for strength in (0.25, 1.0)
    )
    assert 0 < little < much


def test_lines_get_wider_and_thinner() -> None:
    before = drawing()
    thin, same, wide = (
        stroke_width(before, Draws(torch.full((1, DRAWS), value)), 1.0)
        for value in (0.0, 1 / 3, 0.999)
    )
    ink = [float((1 - sheet).sum()) for sheet in (thin, same, wide)]
    assert ink[0] < 0.8 * ink[1] and ink[2] > 1.6 * ink[1]
    torch.testing.assert_close(same, before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", [erase_patches, erase_strokes])
def test_erasing_only_takes_ink_away(change: Callable[..., Tensor]) -> None:
    before = torch.zeros(64, 1, 64, 64)
    after = change(before, draws(64), 1.0)

    assert set(after.unique().tolist()) == {0.0, 1.0}
    share = after.mean((1, 2, 3))
    assert share.max() < 0.25
    # On a black sheet every gap is seen.
    assert (share > 0).float().mean() > 0.5
    white = drawing(64)
    assert (change(white, draws(64), 1.0) >= white).all()


def test_a_move_is_at_most_a_few_pixels() -> None:
    # A dot on every place of a coarse grid; each must be found near where it was.
    sheet = torch.zeros(1, 1, 64, 64)
    places = [(y, x) for y in range(12, 60, 12) for x in range(12, 60, 12)]
    for y, x in places:
        dot = sheet.clone()
        dot[0, 0, y, x] = 1.0
        moved = warp(dot.repeat(20, 1, 1, 1), draws(20, seed=y * 64 + x), 1.0)
        total = moved.sum((1, 2, 3)).clamp(min=1e-6)
        rows = (moved.sum(3)[:, 0] * torch.arange(64)).sum(1) / total
        columns = (moved.sum(2)[:, 0] * torch.arange(64)).sum(1) / total
        far = ((rows - y) ** 2 + (columns - x) ** 2).sqrt()
        # Shift 3 %, scale 3 % and 3 degrees at the edge, wobble 1.2 % (bicubic: a little more), of 64.
        assert 0.1 < far.max() < 64 * 0.11


def test_a_layout_keeps_its_ids() -> None:
    before = layout(16)

    after = augment(SEGMENTATION, before, draws(16), 1.0)

    assert after.dtype == torch.uint8 and after.shape == before.shape
    # A bilinear move would have made others out of 0, 4, 14 and 18.
    assert set(after.unique().tolist()) == {0, 4, 14, 18}
    assert 0 < (after != before).float().mean() < 0.15


def test_the_light_on_a_face_changes_a_little() -> None:
    before = torch.rand(8, 3, 16, 16) * 2 - 1
    after = augment(FACE, before, draws(8), 1.0)

    assert after.min() >= -1 and after.max() <= 1
    assert 0.005 < (after - before).abs().mean() < 0.1
    assert (after - before).abs().max() <= 0.06 + 0.08
