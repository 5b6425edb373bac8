"""Pen strokes along the face mesh: lids, irises, brows, nose, lips and jaw."""

import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from faceloom.core.arrays import Floats
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import LabelMap
from faceloom.training.segmentation import face_mesh

SIDE = 256
SUPERSAMPLING = 3


def spline(points: Floats, per_segment: int = 6) -> Floats:
    """A Catmull-Rom curve through open points [K,2] -> [(K-1)*per_segment+1, 2]."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(per_segment, dtype=np.float32) / per_segment)[:, None]
    pieces = []
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        a, b, c = p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3
        pieces.append(p1 + 0.5 * (a * t + b * t**2 + c * t**3))
    return np.concatenate([*pieces, points[-1:]])


class Paper:
    """A white sheet on which darkness is drawn; units of its side, antialiased when read."""

    def __init__(self) -> None:
        self.side = SIDE * SUPERSAMPLING
        self.image = Image.new("L", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)

    def stroke(
        self,
        points: Floats,
        width: float,
        dark: float = 1.0,
        taper: tuple[float, float] = (0.4, 0.4),
    ) -> None:
        """A smooth stroke `width` output pixels wide in the middle, thinner towards its ends."""
        curve = spline(points.astype(np.float32)) * self.side
        position = np.linspace(0, 1, len(curve))
        ends = np.interp(position, (0, 0.3, 0.7, 1), (taper[0], 1, 1, taper[1]))
        for start, end, scale in zip(curve, curve[1:], ends, strict=False):
            pen = max(1, round(width * float(scale) * SUPERSAMPLING))
            shade = round(255 * dark * math.sqrt(float(scale)))
            self.draw.line([*map(float, start), *map(float, end)], fill=shade, width=pen)
            radius = pen / 2 - 0.5
            if radius > 0.5:
                x, y = map(float, end)
                self.draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=shade)

    def fill(self, points: Floats, dark: float) -> None:
        self.draw.polygon(
            [tuple(map(float, p)) for p in points * self.side], fill=round(255 * dark)
        )

    def dot(self, centre: Floats, radius: float, dark: float) -> None:
        x, y = (float(v) * self.side for v in centre)
        r = radius * self.side
        self.draw.ellipse([x - r, y - r, x + r, y + r], fill=round(255 * dark))

    def darkness(self) -> Floats:
        """[SIDE,SIDE], 0 paper .. 1 full line."""
        small = self.image.resize((SIDE, SIDE), Image.Resampling.BOX)
        return (np.asarray(small) / 255).astype(np.float32)


def draw_face(points: Floats, labels: LabelMap) -> Floats:
    """Strokes along the mesh: darkness [SIDE,SIDE]. `points` [478,2] in units of the side."""
    paper = Paper()
    for side in ("left", "right"):
        draw_eye(paper, points, side)
        upper, lower = (points[list(ids)] for ids in face_mesh.BROWS[side])
        paper.stroke(np.float32(0.5) * (upper + lower), width=4.2, dark=0.85, taper=(0.3, 0.8))
        wing = points[list(face_mesh.NOSE_WINGS[side])]
        paper.stroke(wing, width=1.5, dark=0.8, taper=(0.3, 0.7))
    base = points[list(face_mesh.NOSE_BASE)]
    paper.stroke(base[:3], width=1.8, dark=0.9)
    paper.stroke(base[-3:], width=1.8, dark=0.9)
    paper.stroke(base[2:5], width=1.2, dark=0.5)
    draw_mouth(paper, points)
    face = paper.darkness()

    jaw = Paper()
    jaw.stroke(visible_jaw(points), width=1.8, dark=0.9, taper=(0.5, 0.5))
    # The jaw shows where the face meets neck, cloth or background, not where hair covers it.
    hidden = ndimage.binary_dilation(labels == CLASS_NAMES.index("hair"), iterations=2)
    return np.maximum(face, np.where(hidden, 0, jaw.darkness()))


def visible_jaw(points: Floats) -> Floats:
    """The jaw line without its far end where a turned head hides that."""
    jaw = points[list(face_mesh.JAW)]
    width = float(np.linalg.norm(jaw[0] - jaw[-1]))
    nose = points[4, 0]
    if jaw[0, 0] - nose < 0.25 * width:
        return jaw[7:]
    return jaw[:-7] if nose - jaw[-1, 0] < 0.25 * width else jaw


def draw_eye(paper: Paper, points: Floats, side: str) -> None:
    upper, lower = (points[list(ids)] for ids in face_mesh.EYE_LIDS[side])
    opening = float(np.linalg.norm(upper - lower, axis=1).max())
    length = float(np.linalg.norm(upper[0] - upper[-1])) + 1e-6
    if opening / length > 0.12:
        iris = points[list(face_mesh.IRISES[side])]
        centre, radius = iris.mean(0), float(np.linalg.norm(iris - iris.mean(0), axis=1).mean())
        eye = Paper()
        eye.dot(centre, radius * 1.02, 0.8)
        eye.dot(centre, radius * 0.72, 0.45)
        eye.dot(centre, radius * 0.45, 1.0)
        eye.dot(centre + radius * np.array([-0.3, -0.3], np.float32), radius * 0.2, 0.0)
        lens = Image.new("L", eye.image.size)
        outline = np.concatenate([spline(upper), spline(lower)[::-1]]) * eye.side
        ImageDraw.Draw(lens).polygon([tuple(map(float, p)) for p in outline], fill=255)
        paper.image.paste(eye.image, (0, 0), lens)
    paper.stroke(upper, width=2.6, dark=1.0, taper=(0.7, 0.4))
    paper.stroke(lower, width=1.2, dark=0.7, taper=(0.7, 0.3))
    lift = (upper[1:-1] - lower[1:-1]).mean(0) * 0.55
    crease = upper[1:-1] + lift - np.array([0, 0.012], np.float32)
    paper.stroke(crease, width=1.0, dark=0.55, taper=(0.2, 0.2))


def draw_mouth(paper: Paper, points: Floats) -> None:
    top, inner_top, inner_bottom, bottom = (
        points[list(ids)]
        for ids in (
            face_mesh.UPPER_LIP_TOP, face_mesh.UPPER_LIP_BOTTOM,
            face_mesh.LOWER_LIP_TOP, face_mesh.LOWER_LIP_BOTTOM,
        )
    )  # fmt: skip
    opening = float(np.linalg.norm(inner_top - inner_bottom, axis=1).max())
    corners = (points[61], points[291])
    if opening > 0.02:
        paper.stroke(inner_top, width=1.8, dark=0.95)
        paper.stroke(inner_bottom, width=1.5, dark=0.85)
    middle = np.concatenate(
        [corners[0][None], (inner_top + inner_bottom)[1:-1] / 2, corners[1][None]]
    )
    if opening <= 0.02:
        paper.stroke(middle, width=2.2, dark=1.0, taper=(0.6, 0.6))
    paper.stroke(top, width=1.3, dark=0.7, taper=(0.4, 0.4))
    paper.stroke(bottom[2:-2], width=1.6, dark=0.75, taper=(0.2, 0.2))
