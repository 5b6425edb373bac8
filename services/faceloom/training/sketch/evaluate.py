"""How the sketch model draws held-out faces, in numbers and in pictures; its data and settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from faceloom.sketch.classical import xdog
from faceloom.sketch.network import SketchSimplification, apply_levels, luminance, normalise
from faceloom.training.runs import contact_sheet, upscale, write_atomically
from faceloom.training.segmentation.scenes import Grounds, Scenes, compose

SIDE = 256
HELD_OUT = 200
NETWORK: dict[str, Any] = {"width": 0.125, "min_channels": 16}
# Grey photographs, where the released network was normalised for drawings.
MEAN, STD = 0.45, 0.25
# Stretches the network's greys: paper to white, hesitant lines to dark.
BLACK, WHITE = 0.4, 0.9


@dataclass(frozen=True)
class DrawnFaces:
    """Training faces, layouts and drawings; the last HELD_OUT are for the report."""

    faces: Tensor  # uint8 [K,3,64,64]
    labels: Tensor  # uint8 [K,256,256]
    drawings: Tensor  # uint8 [K,256,256], 255 paper

    @staticmethod
    def load(faces: Path, labels: Path, drawings: Path) -> "DrawnFaces":
        with np.load(drawings) as data:
            index, drawn = data["index"], data["drawings"]
        with np.load(labels) as data:
            painted = data["labels"][: len(index)]
        pictures = torch.from_numpy(np.load(faces)[index]).permute(0, 3, 1, 2).contiguous()
        return DrawnFaces(pictures, torch.from_numpy(painted), torch.from_numpy(drawn))

    def scenes(
        self, chosen: Tensor, grounds: Grounds, distant_share: float, rng: torch.Generator
    ) -> Scenes:
        return compose(
            self.faces[chosen], self.labels[chosen], self.drawings[chosen],
            grounds, distant_share, rng,
        )  # fmt: skip


def network_input(images: Tensor) -> Tensor:
    """RGB [N,3,H,W] in [0,1] -> [N,1,H,W]."""
    return normalise(luminance(images), MEAN, STD)


@torch.inference_mode()
def draw_with(average: dict[str, Tensor], images: Tensor) -> Tensor:
    """RGB [N,3,H,W] in [0,1] -> drawings [N,H,W] in [0,1] as the service gives them."""
    network = SketchSimplification(**NETWORK)
    network.load_state_dict(average)
    drawings = [network(network_input(image[None]))[0, 0] for image in images]
    return apply_levels(torch.stack(drawings), BLACK, WHITE)


def large(faces: Tensor) -> Tensor:
    """uint8 [N,3,64,64] -> [N,3,256,256] in [0,1], upscaled as the service does it."""
    upscaled = [upscale(face.permute(1, 2, 0).numpy(), SIDE) for face in faces]
    return torch.from_numpy(np.stack(upscaled)).permute(0, 3, 1, 2).float() / 255


def evaluate(average: dict[str, Tensor], data: DrawnFaces) -> dict[str, object]:
    """Lines found on held-out faces: precision and recall of ink within two pixels of the target's,
    and how clean the sheet is (share of pixels that are neither paper nor line)."""
    drawn = draw_with(average, large(data.faces[-HELD_OUT:]))
    wanted = data.drawings[-HELD_OUT:].float() / 255
    ink, target = (drawn < 0.5).float()[:, None], (wanted < 0.5).float()[:, None]
    near_ink, near_target = (F.max_pool2d(mask, 5, 1, 2) for mask in (ink, target))
    precision = float((ink * near_target).sum() / ink.sum().clamp(min=1))
    recall = float((target * near_ink).sum() / target.sum().clamp(min=1))
    return {
        "held_out_faces": HELD_OUT,
        "line_precision_2px": round(precision, 4),
        "line_recall_2px": round(recall, 4),
        "line_f1_2px": round(2 * precision * recall / max(precision + recall, 1e-6), 4),
        "mean_absolute_error": round(float((drawn - wanted).abs().mean()), 4),
        "grey_share": round(float(((drawn > 0.25) & (drawn < 0.9)).float().mean()), 4),
        "grey_share_of_targets": round(float(((wanted > 0.25) & (wanted < 0.9)).float().mean()), 4),
    }


def rows_of_three(
    average: dict[str, Tensor], images: Tensor, beside: Tensor
) -> list[NDArray[np.uint8]]:
    """For each picture one tile: photo, the network's drawing, and what `beside` holds."""
    drawn = (draw_with(average, images) * 255).byte()
    return [
        np.concatenate(
            [p.permute(1, 2, 0).numpy(), *(np.repeat(g.numpy()[..., None], 3, 2) for g in grey)], 1
        )
        for p, *grey in zip((images * 255).byte(), drawn, beside, strict=True)
    ]


def preview(average: dict[str, Tensor], data: DrawnFaces, path: Path, count: int = 16) -> None:
    """Held-out faces as they are and in scenes: photo, drawing, target."""
    rng = torch.Generator().manual_seed(5)
    half = torch.arange(len(data.faces) - HELD_OUT, len(data.faces) - HELD_OUT + count // 2)
    scenes = data.scenes(half, Grounds(SIDE, rng, 24), 0.5, rng)
    images = torch.cat([large(data.faces[half]), scenes.images])
    wanted = torch.cat([data.drawings[half], ((1 - scenes.lines[:, 0]) * 255).byte()])
    sheet = contact_sheet(rows_of_three(average, images, wanted), columns=2)
    write_atomically(path, lambda temporary: sheet.save(temporary, "PNG"))


def write_card_pictures(average: dict[str, Tensor], data: DrawnFaces, folder: Path) -> None:
    """For the model card: held-out photos with the learned and the classical drawing."""
    images = large(data.faces[-HELD_OUT:][:24])
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    classical = torch.from_numpy(np.stack([xdog(picture) for picture in pixels]))
    sheet = contact_sheet(rows_of_three(average, images, classical), columns=3)
    sheet = sheet.resize((sheet.width * 5 // 8, sheet.height * 5 // 8)).quantize(256)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / "drawings.png", lambda temporary: sheet.save(temporary, "PNG", optimize=True)
    )
