"""Ids that interpolation made: between hair, 13, and background, 0, smooth resizing leaves 3, 7 and 10."""

from typing import Final

import numpy as np
import numpy.typing as npt

from faceloom.layouts.labels import LabelMap

# The share of a map's changes from one pixel to the next that lead to a mean. Measured: 0 to 0.06 in layouts
# of 32 to 256 pixels, 0.2 to 0.7 after bilinear, bicubic or Lanczos resizing to a quarter up to eight times.
_MANY: Final = 0.15


def smoothed_at(labels: LabelMap) -> tuple[int, int] | None:
    """Where a map of ids [H, W] was smoothed: column and row of a pixel that lies between its two neighbours,
    if such means are many, and more than thin lines of other kinds. Patterns without areas are not judged."""
    across, down = _Lines(labels), _Lines(labels.T)
    means, ends, changes = (
        one + other for one, other in zip(across.counts, down.counts, strict=True)
    )
    if 4 * changes > 3 * labels.size or means <= ends or means <= _MANY * changes:
        return None
    if across.first is None:
        return down.first and down.first[::-1]
    return across.first


class _Lines:
    """What happens from pixel to pixel along the rows of a map."""

    def __init__(self, rows: LabelMap) -> None:
        steps = np.diff(rows.astype(np.int8), axis=1)
        turns = steps[:, :-1].astype(np.int16) * steps[:, 1:]
        mean = turns > 0
        self.counts = int(mean.sum()), int((turns < 0).sum()), int((steps != 0).sum())
        self.first = _place(mean) if mean.any() else None


def _place(mean: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Column and row of the first."""
    row, column = np.unravel_index(mean.argmax(), mean.shape)
    return int(column) + 1, int(row)
