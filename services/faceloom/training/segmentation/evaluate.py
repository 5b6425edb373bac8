"""How well the segmentation model labels held-out faces, in numbers and in pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.layouts import labels as label_maps
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.segmentation.focus import look_twice
from faceloom.segmentation.network import IMAGENET_MEAN, IMAGENET_STD, BiSeNet
from faceloom.training.runs import contact_sheet, upscale, write_atomically
from faceloom.training.segmentation.scenes import Grounds, compose

SIDE = 256
HELD_OUT = 400
CLASSES = len(CLASS_NAMES)
NETWORK: dict[str, Any] = {"classes": CLASSES, "width": 0.25}


@dataclass(frozen=True)
class LabelledFaces:
    """Training faces and what is drawn over them; the last HELD_OUT are for the report."""

    faces: Tensor  # uint8 [K,3,64,64]
    labels: Tensor  # uint8 [K,256,256]

    @staticmethod
    def load(faces: Path, labels: Path) -> "LabelledFaces":
        with np.load(labels) as data:
            index, painted = data["index"], data["labels"]
        pictures = torch.from_numpy(np.load(faces)[index]).permute(0, 3, 1, 2).contiguous()
        return LabelledFaces(pictures, torch.from_numpy(painted))


def normalise(images: Tensor) -> Tensor:
    """[N,3,H,W] in [0,1] -> network input."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def load_average(average: dict[str, Tensor]) -> BiSeNet:
    network = BiSeNet(**NETWORK)
    network.load_state_dict(average)
    return network.eval()


@torch.inference_mode()
def predict(network: BiSeNet, images: Tensor) -> Tensor:
    """[N,3,H,W] in [0,1] -> label ids [N,H,W]."""
    scores: Tensor = network(normalise(images))
    return scores.argmax(1)


@torch.inference_mode()
def predict_twice(network: BiSeNet, image: Tensor) -> Tensor:
    """The same for one picture [1,3,H,W], its face looked at again if small."""

    def look(part: Tensor) -> Tensor:
        small = F.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True)
        scores = network(normalise(small))
        return F.interpolate(scores, part.shape[2:], mode="bilinear")

    return look_twice(look, image).argmax(1)


def intersection_over_union(confusion: Tensor) -> dict[str, float]:
    """Per class that occurs in the reference, from counts [reference, predicted]."""
    hits = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - hits
    present = confusion.sum(1) > 0
    return {
        name: round(float(hits[i] / union[i]), 4)
        for i, name in enumerate(CLASS_NAMES)
        if present[i]
    }


def evaluate(average: dict[str, Tensor], data: LabelledFaces, seed: int) -> dict[str, object]:
    """IoU against pseudo-labels of held-out faces: as they are, in distant scenes at one look, and
    in distant scenes as the service gives them, with a second look at the face."""
    network = load_average(average)
    faces, labels = data.faces[-HELD_OUT:], data.labels[-HELD_OUT:]
    grounds = Grounds(SIDE, torch.Generator().manual_seed(seed + 2))
    report: dict[str, object] = {"held_out_faces": HELD_OUT}
    for name in ("as_generated", "distant_one_look", "distant_two_looks"):
        rng = torch.Generator().manual_seed(seed + 3)
        confusion = torch.zeros(CLASSES, CLASSES)
        for start in range(0, HELD_OUT, 20):
            part = slice(start, start + 20)
            if name == "as_generated":
                images, truth = large(faces[part]), labels[part].long()
            else:
                scenes = compose(faces[part], labels[part], None, grounds, 1.0, rng)
                images, truth = scenes.images, scenes.labels
            if name == "distant_two_looks":
                found = torch.cat([predict_twice(network, image[None]) for image in images])
            else:
                found = predict(network, images)
            pairs = truth * CLASSES + found
            confusion += torch.bincount(pairs.flatten(), minlength=CLASSES**2).view(
                CLASSES, CLASSES
            )
        ious = intersection_over_union(confusion)
        report[name] = {
            "mean_iou": round(sum(ious.values()) / len(ious), 4),
            "pixel_accuracy": round(float(confusion.diag().sum() / confusion.sum()), 4),
            "iou": ious,
        }
    return report


def large(faces: Tensor) -> Tensor:
    """uint8 [N,3,64,64] -> [N,3,256,256] in [0,1], upscaled as the service does it."""
    upscaled = [upscale(face.permute(1, 2, 0).numpy(), SIDE) for face in faces]
    return torch.from_numpy(np.stack(upscaled)).permute(0, 3, 1, 2).float() / 255


def preview(average: dict[str, Tensor], data: LabelledFaces, path: Path, count: int = 24) -> None:
    """Held-out faces as they are and in distant scenes, with what the network sees in them."""
    network = load_average(average)
    rng = torch.Generator().manual_seed(5)
    half = slice(-HELD_OUT, -HELD_OUT + count // 2)
    scenes = compose(data.faces[half], data.labels[half], None, Grounds(SIDE, rng, 24), 1.0, rng)
    images = torch.cat([large(data.faces[half]), scenes.images])
    found = predict(network, images).numpy().astype(np.uint8)
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    tiles = [
        np.concatenate([picture, label_maps.overlay(picture, ids, 0.6)], 1)[::2, ::2]
        for picture, ids in zip(pixels, found, strict=True)
    ]
    sheet = contact_sheet(tiles, columns=6)
    write_atomically(path, lambda temporary: sheet.save(temporary, "PNG"))


def write_card_pictures(average: dict[str, Tensor], data: LabelledFaces, folder: Path) -> None:
    """64 overlays of held-out faces for the model card."""
    network = load_average(average)
    images = large(data.faces[-HELD_OUT:][:64])
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    found = predict(network, images).numpy().astype(np.uint8)
    overlays = [
        label_maps.overlay(p, ids, 0.55)[::2, ::2] for p, ids in zip(pixels, found, strict=True)
    ]
    sheet = contact_sheet(overlays, columns=8).quantize(256)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / "overlays.png", lambda temporary: sheet.save(temporary, "PNG", optimize=True)
    )
