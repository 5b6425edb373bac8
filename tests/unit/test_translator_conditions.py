"""Pictures as the encoders see them: drawings are averaged, ids never are."""

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from tests import samples

from faceloom.layouts.labels import mirror
from faceloom.translator.conditions import face_tensor, layout_tensor, sketch_tensor


def drawing(height: int, width: int, seed: int = 0) -> samples.Array:
    """Strokes on white."""
    random = np.random.RandomState(seed)
    page = np.full((height, width), 255, np.uint8)
    for _ in range(12):
        y, x = random.randint(height), random.randint(width)
        page[y : y + 3, : x + 1] = random.randint(0, 200)
    return page


def ids(height: int, width: int, seed: int = 0) -> samples.Array:
    """Patches of a few ids with large gaps between them."""
    random = np.random.RandomState(seed)
    coarse = random.choice([0, 1, 13, 18], (height // 5 + 1, width // 5 + 1)).astype(np.uint8)
    return coarse.repeat(5, 0).repeat(5, 1)[:height, :width]


def triangle(pixels: samples.Array, side: int) -> np.ndarray:
    """Antialiased bilinear reduction, from its definition: a tent as wide as two pixels of the result."""
    size = len(pixels)
    scale = size / side
    centres = (np.arange(side) + 0.5) * scale
    places = np.arange(size) + 0.5
    weights = np.maximum(0, 1 - np.abs(places - centres[:, None]) / max(scale, 1))
    weights /= weights.sum(1, keepdims=True)
    return weights @ pixels.astype(float) @ weights.T


def test_paper_is_one_and_ink_is_zero() -> None:
    white, black = np.full((64, 64), 255, np.uint8), np.zeros((64, 64), np.uint8)

    assert sketch_tensor(white, 64).unique().tolist() == [1.0]
    assert sketch_tensor(black, 32).unique().tolist() == [0.0]
    assert sketch_tensor(black, 32).shape == (1, 32, 32)
    assert sketch_tensor(black, 32).dtype == torch.float32


@pytest.mark.parametrize(("size", "side"), [(256, 64), (100, 64), (64, 64), (513, 128)])
def test_a_drawing_is_reduced_by_its_definition(size: int, side: int) -> None:
    page = drawing(size, size)

    got = sketch_tensor(page, side)[0].numpy()

    np.testing.assert_allclose(got, triangle(page, side) / 255, atol=1e-5)


def test_a_reduced_drawing_is_what_pillow_makes_of_it() -> None:
    # pixel2style2pixel's own transform, but for Pillow's rounding to 8 bits after each direction.
    page = drawing(256, 256)
    pillow = PilImage.fromarray(page).resize((64, 64), PilImage.Resampling.BILINEAR)

    difference = sketch_tensor(page, 64)[0].numpy() * 255 - np.asarray(pillow)

    assert np.abs(difference).max() <= 1.1


def test_a_thin_line_survives_reduction() -> None:
    page = np.full((512, 512), 255, np.uint8)
    page[:, 201] = 0

    darkest = sketch_tensor(page, 64).min(dim=2).values

    # One of eight columns, at most twice its share under the tent.
    assert darkest.min() >= 0.75 and darkest.max() < 1


def test_a_drawing_that_is_not_square_is_centred_on_paper() -> None:
    tensor = sketch_tensor(np.zeros((64, 32), np.uint8), 64)[0]

    assert (tensor[:, 16:48] == 0).all()
    assert (tensor[:, :16] == 1).all() and (tensor[:, 48:] == 1).all()


@pytest.mark.parametrize(("size", "side"), [(256, 64), (300, 128), (64, 64), (40, 64)])
def test_ids_are_never_mixed(size: int, side: int) -> None:
    # pixel2style2pixel resizes maps bilinearly and so invents ids between those that are there.
    layout = ids(size, size)
    there = set(np.unique(layout))
    bilinear = PilImage.fromarray(layout).resize((side, side), PilImage.Resampling.BILINEAR)

    tensor = layout_tensor(layout, side)

    assert tensor.shape == (19, side, side)
    assert (tensor.sum(0) == 1).all() and tensor.unique().tolist() == [0, 1]
    assert set(tensor.argmax(0).unique().tolist()) == there
    if size != side:
        assert not set(np.unique(np.asarray(bilinear))) <= there


@pytest.mark.parametrize(("size", "side"), [(256, 64), (300, 128), (64, 64), (40, 64)])
def test_a_pixel_takes_the_nearest_id(size: int, side: int) -> None:
    layout = ids(size, size, seed=1)
    pillow = PilImage.fromarray(layout).resize((side, side), PilImage.Resampling.NEAREST)

    assert (layout_tensor(layout, side).argmax(0).numpy() == np.asarray(pillow)).all()


def test_every_id_has_its_own_channel() -> None:
    layout = np.arange(19, dtype=np.uint8).repeat(19).reshape(19, 19).repeat(4, 0).repeat(4, 1)

    tensor = layout_tensor(layout, 76)

    for index in range(19):
        assert tensor[index].nonzero()[:, 0].unique().tolist() == list(
            range(4 * index, 4 * index + 4)
        )


def test_a_mirrored_layout_is_the_mirrored_tensor() -> None:
    # An odd ratio: the centre of three pixels is one of them, seen from either side.
    layout = ids(192, 192, seed=2)

    assert torch.equal(layout_tensor(mirror(layout), 64), layout_tensor(layout, 64).flip(2))


def test_a_layout_that_is_not_square_is_centred_on_background() -> None:
    classes = layout_tensor(np.full((32, 64), 13, np.uint8), 64).argmax(0)

    assert (classes[16:48] == 13).all()
    assert (classes[:16] == 0).all() and (classes[48:] == 0).all()


def test_an_id_outside_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 18"):
        layout_tensor(np.full((32, 32), 19, np.uint8), 32)


def test_a_face_runs_from_minus_one_to_one() -> None:
    face = np.zeros((64, 64, 3), np.uint8)
    face[:, :, 0], face[:, :, 2] = 255, 51

    tensor = face_tensor(face, 64)

    assert tensor.shape == (3, 64, 64)
    assert tensor[:, 5, 5].tolist() == pytest.approx([1, -1, -0.6])


def test_of_a_face_the_middle_square_is_taken() -> None:
    face = samples.face(3, 64, 100)

    assert torch.equal(face_tensor(face, 64), face_tensor(face[18:82], 64))


def test_a_read_only_picture_is_taken() -> None:
    page = np.frombuffer(bytes(64 * 64), np.uint8).reshape(64, 64)

    assert sketch_tensor(page, 32).sum() == 0
    assert layout_tensor(page, 32)[0].sum() == 32 * 32
    assert face_tensor(page[:, :, None].repeat(3, 2), 32).unique().tolist() == [-1]
