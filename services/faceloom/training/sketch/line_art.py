"""Line-art targets for training: what a draughtsman would trace, drawn from measurements.

Three sources are combined on white paper: strokes along the face mesh (lids, irises, brows, nose,
lips, jaw), contours of the label map (hairline, silhouette, collar), and coherent lines found in
the picture itself (strands of hair, folds, glasses). The last is the flow-based difference of
Gaussians of Kang, Lee & Chui ("Coherent Line Drawing", NPAR 2007).
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.core.arrays import Floats
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import LabelMap
from faceloom.training.sketch.strokes import SIDE, draw_face

FACE_CLASSES = (
    "skin", "nose", "neck", "mouth", "u_lip", "l_lip", "l_eye", "r_eye", "l_brow", "r_brow",
    "l_ear", "r_ear",
)  # fmt: skip


def without_specks(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Drop islands and fill holes of fewer than `pixels` pixels."""
    for _ in range(2):
        pieces, count = ndimage.label(mask)
        size = np.bincount(pieces.ravel(), minlength=count + 1)
        size[0] = 0
        mask = ~(size >= pixels)[pieces]  # inverted, so that the second round treats the holes
    return mask


def region_contours(labels: LabelMap) -> Floats:
    """Thin smooth lines along hairline, silhouette, ears, neck and collar: darkness."""
    groups = {
        "person": labels > 0,
        "hair": np.isin(labels, [CLASS_NAMES.index("hair"), CLASS_NAMES.index("hat")]),
        "cloth": labels == CLASS_NAMES.index("cloth"),
        "ears": np.isin(labels, [CLASS_NAMES.index("l_ear"), CLASS_NAMES.index("r_ear")]),
    }
    strength = {"person": 1.0, "hair": 0.75, "cloth": 0.85, "ears": 0.6}
    dark = np.zeros(labels.shape, np.float32)
    for name, mask in groups.items():
        mask = without_specks(mask, 400)
        if not mask.any():
            continue
        soft = ndimage.gaussian_filter(mask.astype(np.float32), 2.5)
        slope = ndimage.gaussian_gradient_magnitude(mask.astype(np.float32), 2.5) + 1e-4
        # Distance to the half-way level in pixels: a line of even width along the contour.
        distance = np.abs(soft - 0.5) / slope
        line = np.clip(1.45 - distance, 0, 1) * (slope > 0.03)
        dark = np.maximum(dark, strength[name] * line.astype(np.float32))
    return dark


def sample(plane: Floats, y: Floats, x: Floats) -> Floats:
    values = ndimage.map_coordinates(plane, [y, x], order=1, mode="nearest")
    return np.asarray(values, np.float32)


def coherent_lines(
    grey: Floats, sigma: float = 0.75, reach: int = 5
) -> tuple[Floats, NDArray[np.bool_]]:
    """Flow-based difference of Gaussians of a grey picture in [0,1].

    The local edge direction comes from the smoothed structure tensor; the difference of Gaussians
    runs across it, a line integral of `reach` steps either way along it joins dashes to lines.
    Returns the darkness in [0,1] and where it has a ridge, that is, the middle of a line.
    """
    gy, gx = (ndimage.gaussian_filter(grey, 0.7, order=o) for o in ((1, 0), (0, 1)))
    xx, xy, yy = (ndimage.gaussian_filter(p, 1.5) for p in (gx * gx, gx * gy, gy * gy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)  # of the gradient
    across_y, across_x = np.sin(angle), np.cos(angle)
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)

    wide = 1.6 * sigma
    offsets = np.arange(-math.ceil(2.5 * wide), math.ceil(2.5 * wide) + 1)
    inner = np.exp(-(offsets**2) / (2 * sigma**2))
    outer = np.exp(-(offsets**2) / (2 * wide**2))
    kernel = inner / inner.sum() - 0.99 * outer / outer.sum()
    response = np.zeros_like(grey)
    for step, weight in zip(offsets, kernel, strict=True):
        response += weight * sample(grey, rows + step * across_y, columns + step * across_x)

    total = response.copy()
    for sign in (1.0, -1.0):
        y, x = rows.copy(), columns.copy()
        last_y, last_x = -sign * across_x, sign * across_y
        for _ in range(reach):
            step_y, step_x = sample(-across_x, y, x), sample(across_y, y, x)
            flip = np.sign(step_y * last_y + step_x * last_x + 1e-6)
            last_y, last_x = step_y * flip, step_x * flip
            y, x = y + last_y, x + last_x
            total += sample(response, y, x)
    dark = np.clip(-np.tanh(total / (2 * reach + 1) * 70), 0, 1).astype(np.float32)

    scale = SIDE / grey.shape[0]
    dark = np.clip(ndimage.zoom(dark, scale, order=3), 0, 1)
    across_y, across_x = (ndimage.zoom(plane, scale, order=0) for plane in (across_y, across_x))
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    beside = [sample(dark, rows + s * across_y, columns + s * across_x) for s in (-1.0, 1.0)]
    return dark, (dark >= beside[0]) & (dark > beside[1])


def thin_lines(
    dark: Floats, ridge: NDArray[np.bool_], low: float, high: float, length: int
) -> Floats:
    """Even thin lines along the ridges that exceed `low` and connect to `high` (hysteresis), in
    pieces of `length` pixels or more."""
    pieces, count = ndimage.label(ridge & (dark > low), structure=np.ones((3, 3)))
    if not count:
        return np.zeros_like(dark)
    index = np.arange(count + 1)
    peak = np.asarray(ndimage.maximum(dark, pieces, index))
    size = np.bincount(pieces.ravel(), minlength=count + 1)
    keep = (peak > high) & (size >= length)
    keep[0] = False
    strength = np.where(keep[pieces], np.clip(dark * 1.3, 0, 1), 0)
    lines: Floats = np.clip(ndimage.gaussian_filter(strength, 0.75) * 2.2, 0, 1).astype(np.float32)
    return lines


def draw(face: NDArray[np.uint8], landmarks: Floats, labels: LabelMap) -> NDArray[np.uint8]:
    """One RGB face, its landmarks [478,3] and label map [256,256] -> drawing [256,256] uint8,
    dark lines on 255."""
    large = Image.fromarray(face).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    grey = np.asarray(large, np.float32) / 255
    # Equalise the light: lines in shade count as much as lines in the sun.
    local = ndimage.gaussian_filter(grey, 24)
    grey = grey / (0.12 + local) * 0.5

    dark, ridge = coherent_lines(ndimage.gaussian_filter(grey, 1.0)[::2, ::2])
    strokes = draw_face(landmarks[:, :2].astype(np.float32), labels)
    contours = region_contours(labels)
    drawn = ndimage.binary_dilation(np.maximum(strokes, contours) > 0.3, iterations=4)
    face_area = np.isin(labels, [CLASS_NAMES.index(name) for name in FACE_CLASSES])
    hair = np.isin(labels, [CLASS_NAMES.index("hair"), CLASS_NAMES.index("hat")])
    cloth = labels == CLASS_NAMES.index("cloth")
    lines = np.maximum.reduce([
        0.80 * thin_lines(dark, ridge & hair & ~drawn, 0.09, 0.22, 10),
        0.85 * thin_lines(dark, ridge & cloth & ~drawn, 0.25, 0.5, 15),
        0.75 * thin_lines(dark, ridge & face_area & ~drawn, 0.35, 0.6, 12),
    ])  # fmt: skip
    sheet = np.clip(np.maximum.reduce([strokes, contours, lines]), 0, 1)
    return np.asarray((1 - sheet) * 255, np.uint8)
