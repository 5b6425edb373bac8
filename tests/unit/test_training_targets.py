"""Pseudo-labels and drawn targets of a made-up face, without MediaPipe."""

import numpy as np
import pytest

from faceloom.layouts.classes import CLASS_NAMES
from faceloom.training.segmentation import face_mesh
from faceloom.training.segmentation.mesh_labels import paint, polygon
from faceloom.training.sketch.line_art import coherent_lines, draw, without_specks
from faceloom.training.sketch.strokes import spline


def made_up_landmarks() -> np.ndarray:
    """A frontal face: every list of the mesh laid on ellipses where it belongs."""
    points = np.full((face_mesh.LANDMARKS, 3), 0.5, np.float32)

    def ellipse(ids: tuple[int, ...], x: float, y: float, w: float, h: float, start: float) -> None:
        angles = start + np.linspace(0, 2 * np.pi, len(ids), endpoint=False)
        points[list(ids), 0] = x + w * np.sin(angles)
        points[list(ids), 1] = y - h * np.cos(angles)

    def arc(ids: tuple[int, ...], x: float, y: float, w: float, h: float) -> None:
        position = np.linspace(-1, 1, len(ids))
        points[list(ids), 0] = x + w * position
        points[list(ids), 1] = y - h * (1 - position**2)

    ellipse(face_mesh.FACE_OVAL, 0.5, 0.55, 0.24, 0.32, 0)
    for side, x, sign in (("right", 0.4, 1), ("left", 0.6, -1)):
        upper, lower = face_mesh.EYE_LIDS[side]
        arc(upper, x, 0.48, 0.05 * sign, 0.02)
        arc(lower, x, 0.48, 0.05 * sign, -0.02)
        for ids, y in zip(face_mesh.BROWS[side], (0.41, 0.43), strict=True):
            arc(ids, x, y, 0.06 * sign, 0.01)
        ellipse(face_mesh.IRISES[side], x, 0.48, 0.015, 0.015, 0)
    ellipse(face_mesh.NOSE_OUTLINE, 0.5, 0.57, 0.05, 0.08, 0)
    arc(face_mesh.LOWER_LIP_BOTTOM, 0.5, 0.72, 0.08, -0.05)
    arc(face_mesh.UPPER_LIP_TOP, 0.5, 0.72, 0.08, 0.04)
    arc(face_mesh.UPPER_LIP_BOTTOM, 0.5, 0.72, 0.06, 0.01)
    arc(face_mesh.LOWER_LIP_TOP, 0.5, 0.72, 0.06, -0.01)
    return points


def made_up_face() -> tuple[np.ndarray, np.ndarray]:
    """A pale oval below dark hair on grey: RGB [64,64,3] and person mask [128,128]."""
    y, x = np.mgrid[:64, :64] / 64
    face = np.full((64, 64, 3), 120, np.uint8)
    hair = ((x - 0.5) / 0.33) ** 2 + ((y - 0.45) / 0.42) ** 2 < 1
    skin = ((x - 0.5) / 0.24) ** 2 + ((y - 0.57) / 0.33) ** 2 < 1
    face[hair] = (40, 25, 20)
    face[skin] = (220, 170, 150)
    person = np.kron(hair | skin, np.ones((2, 2))).astype(np.uint8) * 255
    return face, person


def test_parts_lie_where_they_belong() -> None:
    face, person = made_up_face()
    labels = paint(face, made_up_landmarks(), person)

    def at(x: float, y: float) -> str:
        return CLASS_NAMES[labels[int(y * 256), int(x * 256)]]

    assert at(0.4, 0.48) == "r_eye" and at(0.6, 0.48) == "l_eye"
    assert at(0.4, 0.41) == "r_brow" and at(0.6, 0.41) == "l_brow"
    assert at(0.5, 0.57) == "nose"
    assert at(0.5, 0.72) == "mouth"
    assert at(0.5, 0.695) == "u_lip" and at(0.5, 0.755) == "l_lip"
    assert at(0.35, 0.62) == "skin"
    assert at(0.5, 0.08) == "hair"
    assert at(0.03, 0.03) == "background"


def test_drawing_has_dark_features_on_white() -> None:
    face, person = made_up_face()
    landmarks = made_up_landmarks()
    drawing = draw(face, landmarks, paint(face, landmarks, person))
    assert drawing.shape == (256, 256) and drawing.dtype == np.uint8
    assert (drawing > 250).mean() > 0.8
    eye = drawing[int(0.46 * 256) : int(0.5 * 256), int(0.36 * 256) : int(0.44 * 256)]
    assert eye.min() < 60
    assert drawing[:10, :10].min() == 255


def test_polygon_covers_its_inside() -> None:
    square = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]], np.float32)
    mask = polygon(square, 40)
    assert mask[20, 20] and not mask[5, 20]
    assert mask.mean() == pytest.approx(0.25, abs=0.04)


def test_spline_passes_through_its_points() -> None:
    points = np.array([[0, 0], [1, 2], [3, 1]], np.float32)
    curve = spline(points, per_segment=4)
    assert len(curve) == 9
    np.testing.assert_allclose(curve[[0, 4, 8]], points, atol=1e-6)


def test_coherent_lines_follow_a_dark_stroke() -> None:
    grey = np.full((128, 128), 0.6, np.float32)
    grey[:, 63:65] = 0.3
    dark, ridge = coherent_lines(grey)
    assert dark.shape == (256, 256)
    assert dark[128, 124:132].max() > 0.5 and dark[128, 40] < 0.1
    assert ridge[128, 124:132].any()


def test_specks_and_holes_go() -> None:
    mask = np.zeros((30, 30), bool)
    mask[5:20, 5:20] = True
    mask[10, 10] = False
    mask[25, 25] = True
    clean = without_specks(mask, 9)
    assert clean[10, 10] and not clean[25, 25] and clean.sum() == 225
