"""Pseudo-labels for face parsing: mesh polygons for the parts of the face, colour models for the
rest of the person.

The mesh gives brows, eyes, nose, lips, mouth and the middle of the face. What lies around it
inside the person mask is skin, hair, neck, cloth, an ear or a hat; each gets a Gaussian colour
model and a prior over position, fitted to the one picture by a few rounds of expectation
maximisation. No label comes from a person, and none from CelebAMask-HQ.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from faceloom.core.arrays import Floats
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import LabelMap
from faceloom.training.segmentation import face_mesh

SIDE = 256  # of the label maps
WORK = face_mesh.PERSON_SIDE  # side at which the colour models are fitted
SKIN, HAIR, NECK, CLOTH = range(4)
REGIONS = tuple(CLASS_NAMES.index(name) for name in ("skin", "hair", "neck", "cloth"))


def polygon(points: Floats, side: int) -> NDArray[np.bool_]:
    """Rasterise a polygon given in units of the image's side."""
    image = Image.new("1", (side, side))
    ImageDraw.Draw(image).polygon([(float(x) * side, float(y) * side) for x, y in points], fill=1)
    return np.asarray(image, dtype=bool)


def resize(array: NDArray[np.float32], side: int) -> Floats:
    """Bilinear resize of one float plane."""
    image = Image.fromarray(array.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)


def opponent_colours(rgb: NDArray[np.uint8]) -> Floats:
    """[H,W,3] RGB -> log luminance and two log chroma axes, so that shade moves one axis only."""
    log = np.log(rgb.astype(np.float32) / 255 + 0.06)
    red, green, blue = log[..., 0], log[..., 1], log[..., 2]
    return np.stack([0.5 * (red + green + blue) / 3, 1.6 * (red - green), 1.0 * (green - blue)], -1)


def position_priors(points: Floats) -> Floats:
    """[478,2] landmarks -> log priors [4,WORK,WORK] of skin, hair, neck, cloth."""
    grid = (np.arange(WORK, dtype=np.float32) + 0.5) / WORK
    x, y = np.meshgrid(grid, grid)
    oval = polygon(points[list(face_mesh.FACE_OVAL)], WORK)
    height = float(np.linalg.norm(points[10] - points[152]))
    width = float(np.linalg.norm(points[234] - points[454]))
    # Signed distance to the oval in face heights: positive outside.
    distance = (
        ndimage.distance_transform_edt(~oval) - ndimage.distance_transform_edt(oval)
    ).astype(np.float32) / (WORK * height)
    chin, centre = points[152], points[[234, 454, 152]].mean(0)
    jaw = points[list(face_mesh.JAW)]
    order = np.argsort(jaw[:, 0])
    below_jaw = y - np.interp(x, jaw[order, 0], jaw[order, 1])
    below_jaw = np.where(np.abs(x - centre[0]) < width / 2, below_jaw, y - chin[1]) / height
    aside = np.abs(x - chin[0]) / width
    above_brows = (points[[105, 334], 1].mean() - y) / height

    skin = np.clip(-distance * 60, -9, 6)
    # The mesh ends below the hairline: a forehead may go on for a while above it.
    forehead = (above_brows > 0.1) & (distance < 0.16) & (aside < 0.45)
    skin = np.where(forehead, np.clip(-distance * 8, -9, 6), skin)
    # Ears stand out beside the oval, between brows and mouth.
    ear = (np.abs(y - points[[234, 454], 1].mean()) < 0.17 * height) & (distance < 0.14)
    skin = np.where(ear, np.maximum(skin, np.clip(-distance * 8, -9, 6)), skin)
    hair = np.clip(distance * 40, -7, 1.5) - 6 * np.clip(below_jaw - 0.25, 0, 1)
    hair = np.where(forehead | ear, np.clip(distance * 12 - 1, -7, 1), hair)
    hair = hair - np.where((below_jaw > 0) & (aside < 0.33), 4, 0)
    neck = np.where(below_jaw > 0, 2.5, -60 * np.abs(below_jaw)) - 14 * np.clip(aside - 0.42, 0, 2)
    neck = neck - 7 * np.clip(below_jaw - 0.3, 0, 2)
    cloth = -1 + 9 * np.clip(below_jaw - 0.2, -1, 0.35)
    return np.stack([skin, hair, neck, cloth]).astype(np.float32)


def fit_regions(colours: Floats, priors: Floats, person: Floats) -> Floats:
    """Posterior log scores [4,WORK,WORK] by expectation maximisation from the priors alone."""
    weights = np.exp(priors - priors.max(0)) * person
    scores = priors
    for _ in range(4):
        likelihoods = []
        for weight in weights:
            total = float(weight.sum())
            if total < 30:
                likelihoods.append(np.full(person.shape, -12, np.float32))
                continue
            mean = (colours * weight[..., None]).sum((0, 1)) / total
            offset = colours - mean
            variance = (offset**2 * weight[..., None]).sum((0, 1)) / total
            # Bounds: a floor so that a flat region does not turn brittle, a ceiling so that a
            # region which swallowed its neighbour can let go of it again.
            variance = np.clip(variance, 0.008, 0.12)
            squares = (offset**2 / variance).sum(-1)
            likelihoods.append(-0.5 * np.minimum(squares, 40) - 0.5 * np.log(variance).sum())
        evidence = np.stack([ndimage.gaussian_filter(plane, 1.0) for plane in likelihoods])
        scores = priors + evidence
        weights = np.exp(scores - scores.max(0)) * person
        weights /= weights.sum(0) + 1e-6
    return scores.astype(np.float32)


def paint(face: NDArray[np.uint8], landmarks: Floats, person: NDArray[np.uint8]) -> LabelMap:
    """One RGB face, its landmarks [478,3] and person mask [128,128] -> label map [256,256]."""
    points = landmarks[:, :2]
    small = np.asarray(Image.fromarray(face).resize((WORK, WORK), Image.Resampling.LANCZOS))
    mask = person.astype(np.float32) / 255
    oval = polygon(points[list(face_mesh.FACE_OVAL)], WORK)
    mask = np.maximum(ndimage.gaussian_filter(mask, 1.0), oval)
    priors = position_priors(points)
    scores = fit_regions(opponent_colours(small), priors, mask)
    scores = np.stack([resize(ndimage.gaussian_filter(plane, 1.2), SIDE) for plane in scores])
    labels: LabelMap = np.array(REGIONS, np.uint8)[scores.argmax(0)]
    name_head_cover(labels, points, np.asarray(Image.fromarray(small).resize((SIDE, SIDE))))

    def put(name: str, *outlines: tuple[int, ...], where: NDArray[np.bool_] | None = None) -> None:
        region = polygon(points[list(sum(outlines, ()))], SIDE)
        labels[region if where is None else region & where] = CLASS_NAMES.index(name)

    paint_ears(labels, points)
    put("nose", face_mesh.NOSE_OUTLINE)
    for side in ("left", "right"):
        brow, eye = face_mesh.BROWS[side], face_mesh.EYE_LIDS[side]
        uncovered = labels != CLASS_NAMES.index("hair")
        put(f"{side[0]}_brow", brow[0], brow[1][::-1], where=uncovered)
        put(f"{side[0]}_eye", eye[0], eye[1][::-1])
    put("mouth", face_mesh.UPPER_LIP_BOTTOM, face_mesh.LOWER_LIP_TOP[::-1])
    put("u_lip", face_mesh.UPPER_LIP_TOP, face_mesh.UPPER_LIP_BOTTOM[::-1])
    put("l_lip", face_mesh.LOWER_LIP_TOP, face_mesh.LOWER_LIP_BOTTOM[::-1])
    labels[resize(mask, SIDE) < 0.5] = CLASS_NAMES.index("background")
    return labels


def name_head_cover(labels: LabelMap, points: Floats, rgb: NDArray[np.uint8]) -> None:
    """Rename what was called hair where its colour says otherwise: skin on a bald head, a hat where
    it is blue, green, violet or glowing red, which hair in the training faces hardly ever is."""
    skin, hair, hat = (CLASS_NAMES.index(name) for name in ("skin", "hair", "hat"))
    colours = opponent_colours(rgb)
    grid = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    top = (labels == hair) & (grid[:, None] < points[[105, 334], 1].mean())
    if top.sum() < 200:
        return
    face = polygon(points[list(face_mesh.FACE_OVAL)], SIDE) & (labels == skin)
    upper = face & (grid[:, None] < points[1, 1])
    if not upper.any():
        return
    cover, bare = np.median(colours[top], 0), np.median(colours[upper], 0)
    spread = colours[top].std(0)
    light, red, yellow = cover - bare
    if abs(light) < 0.1 and abs(red) < 0.12 and abs(yellow) < 0.1 and spread[0] < 0.16:
        labels[top] = skin
    elif red < -0.75 or yellow < -0.32 or red > 0.6:
        labels[labels == hair] = hat


def paint_ears(labels: LabelMap, points: Floats) -> None:
    """Skin just outside the mesh between brow and mouth is an ear, if the face does not turn it
    away."""
    grid = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    x, y = np.meshgrid(grid, grid)
    width = float(np.linalg.norm(points[234] - points[454]))
    outside = ~polygon(points[list(face_mesh.FACE_OVAL)], SIDE)
    bare = np.isin(labels, [CLASS_NAMES.index("skin"), CLASS_NAMES.index("neck")])
    for side, sign in (("left", 1), ("right", -1)):
        ear = points[list(face_mesh.EARS[side])]
        nose_to_ear = sign * float(ear[:, 0].mean() - points[4, 0])
        if nose_to_ear < 0.3 * width:
            continue
        band = (y > ear[0, 1]) & (y < ear[-1, 1]) & (sign * (x - ear[:, 0].mean()) > -0.01)
        labels[bare & outside & band] = CLASS_NAMES.index(f"{side[0]}_ear")
