"""The second look finds the face, and only changes its surroundings."""

import numpy as np
import torch
from torch import Tensor

from faceloom.segmentation.focus import (
    FACE_SHARE,
    PARTS,
    face_boxes,
    look_twice,
    parts_seen,
    pieces,
)

SKIN, CLOTH = 1, 18


def person(side: int, top: int, left: int, face: int) -> np.ndarray:
    layout = np.zeros((side, side), np.uint8)
    layout[top + face :, :] = CLOTH
    layout[top : top + face, left : left + face] = SKIN
    return layout


def face(side: int) -> np.ndarray:
    """A square of skin with a patch for every part."""
    layout = np.full((side, side), SKIN, np.uint8)
    for index, part in enumerate(PARTS):
        layout[side // 2 : side // 2 + side // 8, index * side // 8 :][:, : side // 8] = part
    return layout


def test_pieces_come_by_size() -> None:
    mask = np.zeros((9, 9), bool)
    mask[0:2, 0:2] = True
    mask[4:8, 4:8] = True
    large, small = pieces(mask)
    assert large.sum() == 16 and large[5, 5] and small.sum() == 4
    assert pieces(np.zeros((3, 3), bool)) == []


def test_specks_are_not_parts() -> None:
    assert parts_seen(face(64)) == 8
    specks = np.full((256, 256), SKIN, np.uint8)
    specks[0, : len(PARTS)] = PARTS
    assert parts_seen(specks) == 0


def test_small_face_gets_a_square_around_it() -> None:
    ((left, top, right, bottom),) = face_boxes(person(512, 200, 200, 80))
    assert left < 200 and right > 280 and top < 200 and bottom > 280
    assert abs((right - left) - 80 / FACE_SHARE) <= 25 and abs((right - left) - (bottom - top)) <= 1


def test_box_stays_inside_the_picture() -> None:
    (box,) = face_boxes(person(256, 2, 3, 60))
    assert min(box) >= 0 and max(box) <= 256


def test_large_face_no_face_and_specks_get_none() -> None:
    filled = person(256, 40, 40, 150)
    filled[40:190, 40:190] = face(150)
    assert face_boxes(filled) == []
    assert face_boxes(np.zeros((64, 64), np.uint8)) == []
    assert face_boxes(person(512, 100, 100, 12)) == []


def scores(layout: np.ndarray) -> Tensor:
    ids = torch.from_numpy(layout).long()
    return 9.0 * torch.nn.functional.one_hot(ids, 19).permute(2, 0, 1)[None].float()


class Eyes:
    """Sees `first` in the whole picture, and in a closer look a face where `there` says one is."""

    def __init__(self, first: np.ndarray, there: tuple[int, int]) -> None:
        self.first, self.there = first, there
        self.looks: list[tuple[int, int]] = []

    def __call__(self, image: Tensor) -> Tensor:
        self.looks.append((image.shape[2], image.shape[3]))
        if len(self.looks) == 1:
            return scores(self.first)
        face_is_here = bool((image[0, 0] == self.there[0] * 1000 + self.there[1]).any())
        side = image.shape[2:]
        return scores(np.resize(face(min(side)), side) if face_is_here else np.full(side, SKIN))


def numbered(side: int) -> Tensor:
    """A picture whose pixels say where they are."""
    places = torch.arange(side)[:, None] * 1000.0 + torch.arange(side)
    return places.expand(1, 3, side, side)


def test_second_look_replaces_the_box_and_nothing_else() -> None:
    first = person(256, 60, 100, 50)
    eyes = Eyes(first, there=(85, 125))

    labels = look_twice(eyes, numbered(256)).argmax(1)[0].numpy()

    ((left, top, right, bottom),) = face_boxes(first)
    assert eyes.looks[1:] == [(bottom - top, right - left)]
    assert parts_seen(labels[top:bottom, left:right]) == 8
    outside = np.ones_like(labels, dtype=bool)
    outside[top:bottom, left:right] = False
    assert np.array_equal(labels[outside], first[outside])


def test_the_place_that_shows_a_face_wins_over_a_larger_one_that_does_not() -> None:
    first = np.zeros((512, 512), np.uint8)
    first[300:400, 100:200] = SKIN  # an orange suit
    first[50:110, 300:360] = SKIN

    labels = look_twice(Eyes(first, there=(80, 330)), numbered(512)).argmax(1)[0].numpy()

    assert parts_seen(labels[40:160, 260:400]) == 8
    assert (labels[320:380, 120:180] == CLOTH).all()


def test_without_a_face_anywhere_the_first_look_stays() -> None:
    first = person(256, 60, 100, 50)

    labels = look_twice(Eyes(first, there=(255, 0)), numbered(256)).argmax(1)[0].numpy()

    assert np.array_equal(labels, first)
