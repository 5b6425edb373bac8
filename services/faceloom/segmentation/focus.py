"""A second look: where in the picture the face is, when it is too small to be read in one pass.

The network works at one size, so in a picture that shows a person from the waist up, an eye is two
cells of its output. The first pass says where skin may be, coarsely: an orange suit is skin to it,
too. The network then looks at these places, and the scores of the one that shows most of a face are
put back in.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import LabelMap

PARTS = tuple(
    CLASS_NAMES.index(name)
    for name in ("nose", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
)
FACE_CLASSES = (CLASS_NAMES.index("skin"), *PARTS)
BACKGROUND, CLOTH = CLASS_NAMES.index("background"), CLASS_NAMES.index("cloth")
CELLS = 64
# Of the box's side: what the face takes of it in the pictures the network knows best.
FACE_SHARE = 0.42
# A box that would be this large a part of the picture's shorter side is not worth a second pass.
LARGEST = 0.8
# Fewer face cells than this are not a face.
LEAST_CELLS = 8
# Places that are looked at, the largest first.
MOST_PLACES = 3
# A part that takes less of what is looked at is a speck; with fewer parts it is not a face.
LEAST_SHARE = 0.001
LEAST_PARTS = 4

Box = tuple[int, int, int, int]


def pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 4-connected pieces of a small mask, the largest first."""
    found = []
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
        found.append(piece)
        rest &= ~piece
    return sorted(found, key=lambda piece: -int(piece.sum()))


def parts_seen(labels: LabelMap) -> int:
    """How many of a face's eight parts [H,W] shows."""
    return sum(bool((labels == part).mean() >= LEAST_SHARE) for part in PARTS)


def face_boxes(labels: LabelMap) -> list[Box]:
    """The squares (left, top, right, bottom) in pixels of [H,W] where a face may be, clipped to the
    picture; none if there is no skin, or if a face fills enough of the picture already."""
    height, width = labels.shape
    rows = (np.arange(CELLS) + 0.5) * height / CELLS
    columns = (np.arange(CELLS) + 0.5) * width / CELLS
    small = labels[rows.astype(int)[:, None], columns.astype(int)[None]]
    boxes = []
    for piece in pieces(np.isin(small, FACE_CLASSES))[:MOST_PLACES]:
        if piece.sum() < LEAST_CELLS:
            break
        occupied_rows, occupied_columns = np.flatnonzero(piece.any(1)), np.flatnonzero(piece.any(0))
        top, bottom = rows[occupied_rows[[0, -1]]]
        left, right = columns[occupied_columns[[0, -1]]]
        side = max(right - left, bottom - top) / FACE_SHARE
        if side <= LARGEST * min(height, width):
            # Hair reaches further up than the neck reaches down, so the box sits a little higher.
            centre = ((left + right) / 2, (top + bottom) / 2 - 0.08 * side)
            boxes.append(_square(centre, side, labels.shape))
        elif parts_seen(labels) >= LEAST_PARTS:
            return []
    return boxes


def _square(centre: tuple[float, float], side: float, shape: tuple[int, ...]) -> Box:
    x, y = centre
    return (
        max(0, round(x - side / 2)),
        max(0, round(y - side / 2)),
        min(shape[1], round(x + side / 2)),
        min(shape[0], round(y + side / 2)),
    )


def look_twice(look: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Class probabilities [1,C,H,W] of one picture [1,3,H,W], its face looked at again if small.

    `look` maps a picture of any size to class scores of the same size. The second look fades in
    over an eighth of the box's side wherever the box ends inside the picture. Outside the box, too
    coarse for parts of a face, whatever is not background counts as cloth.
    """
    probabilities = look(image).softmax(1)
    boxes = face_boxes(_labels(probabilities))
    looks = [
        look(image[..., top:bottom, left:right]).softmax(1) for left, top, right, bottom in boxes
    ]
    parts = [parts_seen(_labels(close)) for close in looks]
    if max(parts, default=0) < LEAST_PARTS:
        return probabilities
    best = parts.index(max(parts))
    close, (left, top, right, bottom) = looks[best], boxes[best]
    height, width = image.shape[2:]
    weight_y = _fade(top, bottom, height).to(close).view(1, 1, -1, 1)
    weight_x = _fade(left, right, width).to(close).view(1, 1, 1, -1)
    result = torch.zeros_like(probabilities)
    result[:, BACKGROUND] = probabilities[:, BACKGROUND]
    result[:, CLOTH] = 1 - probabilities[:, BACKGROUND]
    result[..., top:bottom, left:right].lerp_(close, weight_y * weight_x)
    return result


def _labels(probabilities: Tensor) -> LabelMap:
    return probabilities[0].argmax(0).to(torch.uint8).cpu().numpy()


def _fade(start: int, end: int, limit: int) -> Tensor:
    """Weights of the rows (or columns) start..end: 1 inside, falling to 0 at ends that are not the
    picture's own."""
    length = end - start
    position = torch.arange(length) + 0.5
    ramp = length / 8
    rise = (position / ramp).clamp(max=1) if start > 0 else torch.ones(length)
    fall = ((length - position) / ramp).clamp(max=1) if end < limit else torch.ones(length)
    return rise * fall
