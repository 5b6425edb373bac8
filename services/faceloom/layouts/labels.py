"""Label maps of the 19 classes: checked, mirrored, coloured, as PNG, and remapped between the two orders.

BiSeNet's output is remapped once, where it leaves the network.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloom.layouts.classes import BISENET_CLASS_NAMES, CLASS_NAMES, PALETTE

LabelMap = NDArray[np.uint8]

BISENET_TO_CELEBA: LabelMap = np.array(
    [CLASS_NAMES.index(name) for name in BISENET_CLASS_NAMES], dtype=np.uint8
)
CELEBA_TO_BISENET: LabelMap = np.array(
    [BISENET_CLASS_NAMES.index(name) for name in CLASS_NAMES], dtype=np.uint8
)
# What each class becomes when the picture is mirrored: left and right change places.
MIRRORED: LabelMap = np.array([0, 1, 2, 3, 5, 4, 7, 6, 9, 8, *range(10, 19)], dtype=np.uint8)


def check_labels(labels: NDArray[np.integer]) -> LabelMap:
    """Return `labels` as uint8; ValueError unless it is [H,W] with values 0..18."""
    if labels.ndim != 2:
        raise ValueError(f"a label map has two axes, not {labels.ndim}")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= len(CLASS_NAMES)):
        raise ValueError(
            f"label ids run from 0 to {len(CLASS_NAMES) - 1}; "
            f"this map holds {int(labels.min())} to {int(labels.max())}"
        )
    return labels.astype(np.uint8)


def mirror(labels: LabelMap) -> LabelMap:
    """The label map of the left-right mirrored picture, ids swapped where they name a side."""
    return MIRRORED[labels[..., ::-1]]


def colourise(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """[H,W] ids -> [H,W,3] RGB in CelebAMask-HQ's colours."""
    return np.array(PALETTE, dtype=np.uint8)[check_labels(labels)]


def overlay(image: NDArray[np.uint8], labels: LabelMap, opacity: float = 0.5) -> NDArray[np.uint8]:
    """Blend the colours over an RGB picture of the same size; the background stays untouched."""
    blended = image + opacity * (colourise(labels).astype(np.float32) - image)
    return np.where((labels > 0)[..., None], blended, image).round().astype(np.uint8)


def class_shares(labels: LabelMap) -> dict[str, float]:
    """The share of the picture each class covers, for the classes that occur."""
    counts = np.bincount(labels.ravel(), minlength=len(CLASS_NAMES))
    return {
        name: float(count) / labels.size
        for name, count in zip(CLASS_NAMES, counts, strict=True)
        if count
    }


def encode_png(labels: NDArray[np.integer]) -> bytes:
    """A palette PNG: pixel values are the ids, viewers show the colours."""
    image = Image.fromarray(check_labels(labels), mode="P")
    image.putpalette([channel for colour in PALETTE for channel in colour])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
