"""The second look finds the face, and only changes its surroundings."""

import numpy as np
import torch
from torch import Tensor

from faceloom.segmentation.focus import FACE_SHARE, face_box, largest_piece, look_twice

SKIN, CLOTH = 1, 18


def person(side: int, top: int, left: int, face: int) -> np.ndarray:
    layout = np.zeros((side, side), np.uint8)
    layout[top + face :, :] = CLOTH
    layout[top : top + face, left : left + face] = SKIN
    return layout


def test_largest_piece_wins() -> None:
    mask = np.zeros((9, 9), bool)
    mask[0:2, 0:2] = True
    mask[4:8, 4:8] = True
    piece = largest_piece(mask)
    assert piece.sum() == 16 and piece[5, 5]


def test_small_face_gets_a_square_around_it() -> None:
    box = face_box(person(512, 200, 200, 80))
    assert box is not None
    left, top, right, bottom = box
    assert left < 200 and right > 280 and top < 200 and bottom > 280
    assert abs((right - left) - 80 / FACE_SHARE) <= 25 and abs((right - left) - (bottom - top)) <= 1


def test_box_stays_inside_the_picture() -> None:
    box = face_box(person(256, 2, 3, 60))
    assert box is not None and min(box) >= 0 and max(box) <= 256


def test_large_face_no_face_and_specks_get_none() -> None:
    assert face_box(person(256, 40, 40, 150)) is None
    assert face_box(np.zeros((64, 64), np.uint8)) is None
    assert face_box(person(512, 100, 100, 12)) is None


def test_second_look_replaces_the_box_and_nothing_else() -> None:
    first = torch.from_numpy(person(256, 60, 100, 50)).long()
    calls: list[tuple[int, ...]] = []

    def look(image: Tensor) -> Tensor:
        calls.append(tuple(image.shape[2:]))
        if len(calls) == 1:
            return 9.0 * torch.nn.functional.one_hot(first, 19).permute(2, 0, 1)[None].float()
        scores = torch.zeros(1, 19, *image.shape[2:])
        scores[:, 13] = 9
        return scores

    labels = look_twice(look, torch.zeros(1, 3, 256, 256)).argmax(1)[0]
    box = face_box(first.numpy().astype(np.uint8))
    assert box is not None and len(calls) == 2
    left, top, right, bottom = box
    assert calls[1] == (bottom - top, right - left)
    assert labels[85, 125] == 13
    outside = torch.ones_like(labels, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(labels[outside], first[outside])
