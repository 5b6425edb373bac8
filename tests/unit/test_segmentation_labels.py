"""The two label orders, their colours, and the palette PNG."""

import io

import numpy as np
import pytest
from PIL import Image

from faceloom.layouts import classes, labels


def test_remapping_is_the_listed_permutation() -> None:
    assert labels.BISENET_TO_CELEBA.tolist() == [
        0, 1, 6, 7, 4, 5, 3, 8, 9, 15, 2, 10, 11, 12, 17, 16, 18, 13, 14,
    ]  # fmt: skip
    assert labels.CELEBA_TO_BISENET.tolist() == [
        0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16,
    ]  # fmt: skip


def test_remapping_there_and_back_changes_nothing() -> None:
    ids = np.arange(19)
    assert (labels.CELEBA_TO_BISENET[labels.BISENET_TO_CELEBA] == ids).all()
    assert (labels.BISENET_TO_CELEBA[labels.CELEBA_TO_BISENET] == ids).all()


def test_names_of_both_orders() -> None:
    assert classes.CLASS_NAMES[13] == "hair" and classes.BISENET_CLASS_NAMES[17] == "hair"
    assert classes.CLASS_NAMES[2] == "nose" and classes.BISENET_CLASS_NAMES[10] == "nose"
    assert sorted(classes.CLASS_NAMES) == sorted(classes.BISENET_CLASS_NAMES)


def test_mirroring_swaps_sides_and_is_its_own_inverse() -> None:
    layout = np.array([[4, 0, 5], [6, 13, 7], [8, 1, 9]], np.uint8)
    assert labels.mirror(layout).tolist() == [[4, 0, 5], [6, 13, 7], [8, 1, 9]]
    ramp = np.arange(19, dtype=np.uint8)[None]
    assert (labels.mirror(labels.mirror(ramp)) == ramp).all()
    sided = [name for name in classes.CLASS_NAMES if name[:2] in ("l_", "r_")]
    for index, name in enumerate(classes.CLASS_NAMES):
        partner = classes.CLASS_NAMES[labels.MIRRORED[index]]
        if name in sided and "lip" not in name:
            assert partner[2:] == name[2:] and partner[0] != name[0]
        else:
            assert partner == name


def test_colours() -> None:
    assert len(classes.PALETTE) == 19 and len(set(classes.PALETTE)) == 19
    picture = labels.colourise(np.array([[0, 1], [13, 18]]))
    assert picture.tolist() == [[[0, 0, 0], [204, 0, 0]], [[0, 0, 204], [0, 204, 0]]]


def test_overlay_leaves_the_background() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    blended = labels.overlay(image, np.array([[0, 1]], np.uint8))
    assert blended.tolist() == [[[100, 100, 100], [152, 50, 50]]]


def test_palette_png_round_trip() -> None:
    layout = np.arange(19, dtype=np.uint8).repeat(4).reshape(19, 4)
    with Image.open(io.BytesIO(labels.encode_png(layout))) as image:
        assert image.mode == "P"
        assert (np.asarray(image) == layout).all()
        assert (np.asarray(image.convert("RGB")) == labels.colourise(layout)).all()


def test_class_shares() -> None:
    assert labels.class_shares(np.array([[0, 13], [13, 13]], np.uint8)) == {
        "background": 0.25,
        "hair": 0.75,
    }


@pytest.mark.parametrize("bad", [np.array([[19]]), np.array([[-1]]), np.zeros((2, 2, 3), int)])
def test_other_values_and_shapes_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="label"):
        labels.check_labels(bad)
