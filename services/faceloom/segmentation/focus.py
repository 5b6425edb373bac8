"""A second look: where in the picture the face is, when it is too small to be read in one pass.

The network works at one size, so in a picture that shows a person from the waist up, an eye is two
cells of its output. The first pass finds the face; the handler then runs the network on this box
and puts the scores back in.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloom.segmentation.labels import CLASS_NAMES, LabelMap

FACE_CLASSES = tuple(
    CLASS_NAMES.index(name)
    for name in (
        "skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip",
    )
)  # fmt: skip
BACKGROUND, CLOTH = CLASS_NAMES.index("background"), CLASS_NAMES.index("cloth")
CELLS = 64
# Of the box's side: what the face takes of it in the pictures the network knows best.
FACE_SHARE = 0.42
# A box that would be this large a part of the picture's shorter side is not worth a second pass.
LARGEST = 0.8
# Fewer face cells than this are not a face.
LEAST_CELLS = 8


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest 4-connected piece of a small mask (all false if it is)."""
    best = np.zeros_like(mask)
    rest = mask.copy()
    while rest.any():
        piece = np.zeros_like(mask)
        piece[tuple(np.argwhere(rest)[0])] = True
        while True:
            grown = piece.copy()
            grown[1:] |= piece[:-1]
            grown[:-1] |= piece[1:]
            grown[:, 1:] |= piece[:, :-1]
            grown[:, :-1] |= piece[:, 1:]
            grown &= rest
            if (grown == piece).all():
                break
            piece = grown
        if piece.sum() > best.sum():
            best = piece
        rest &= ~piece
    return best


def face_box(labels: LabelMap) -> tuple[int, int, int, int] | None:
    """The square (left, top, right, bottom) in pixels of [H,W] to look at again, clipped to the
    picture; None if the face fills enough of it already or there is none."""
    height, width = labels.shape
    rows = (np.arange(CELLS) + 0.5) * height / CELLS
    columns = (np.arange(CELLS) + 0.5) * width / CELLS
    small = labels[rows.astype(int)[:, None], columns.astype(int)[None]]
    piece = largest_piece(np.isin(small, FACE_CLASSES))
    if piece.sum() < LEAST_CELLS:
        return None
    occupied_rows, occupied_columns = np.flatnonzero(piece.any(1)), np.flatnonzero(piece.any(0))
    top, bottom = rows[occupied_rows[[0, -1]]]
    left, right = columns[occupied_columns[[0, -1]]]
    side = max(right - left, bottom - top) / FACE_SHARE
    if side > LARGEST * min(height, width):
        return None
    # Hair reaches further up than the neck reaches down, so the box sits a little higher.
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2 - 0.08 * side
    return (
        max(0, round(centre_x - side / 2)),
        max(0, round(centre_y - side / 2)),
        min(width, round(centre_x + side / 2)),
        min(height, round(centre_y + side / 2)),
    )


def look_twice(look: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Class probabilities [1,C,H,W] of one picture [1,3,H,W], its face looked at again if small.

    `look` maps a picture of any size to class scores of the same size. The second look fades in
    over an eighth of the box's side wherever the box ends inside the picture. Outside the box, too
    coarse for parts of a face, whatever is not background counts as cloth.
    """
    probabilities = look(image).softmax(1)
    box = face_box(probabilities[0].argmax(0).to(torch.uint8).cpu().numpy())
    if box is None:
        return probabilities
    left, top, right, bottom = box
    close = look(image[..., top:bottom, left:right]).softmax(1)
    height, width = image.shape[2:]
    weight_y = _fade(top, bottom, height).to(close).view(1, 1, -1, 1)
    weight_x = _fade(left, right, width).to(close).view(1, 1, 1, -1)
    result = torch.zeros_like(probabilities)
    result[:, BACKGROUND] = probabilities[:, BACKGROUND]
    result[:, CLOTH] = 1 - probabilities[:, BACKGROUND]
    result[..., top:bottom, left:right].lerp_(close, weight_y * weight_x)
    return result


def _fade(start: int, end: int, limit: int) -> Tensor:
    """Weights of the rows (or columns) start..end: 1 inside, falling to 0 at ends that are not the
    picture's own."""
    length = end - start
    position = torch.arange(length) + 0.5
    ramp = length / 8
    rise = (position / ramp).clamp(max=1) if start > 0 else torch.ones(length)
    fall = ((length - position) / ramp).clamp(max=1) if end < limit else torch.ones(length)
    return rise * fall
