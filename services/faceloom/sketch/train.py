"""The recipe of the `tiny` sketch model: the Sketch Simplification shape at an eighth of its width,
taught to draw a photo as `line_art` draws it from the face mesh.

At run time it sees nothing but the grey photo. It shares the scenes of the segmentation recipe, so
that a face may be small, sharp and on any ground. Steps, after the segmentation recipe's first
three:

    draw_targets   faces.npy, mesh.npz, labels.npz -> drawings.npz
    train          faces.npy, labels.npz, drawings.npz -> model folder
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.segmentation.face_mesh import Measurements
from faceloom.segmentation.scenes import Grounds, Scenes, compose
from faceloom.segmentation.training import (
    Run,
    contact_sheet,
    file_digest,
    save_model,
    upscale,
    write_atomically,
)
from faceloom.sketch.classical import xdog
from faceloom.sketch.network import SketchSimplification, apply_levels, luminance, normalise

SIDE = 256
# Scenes are composed at SIDE and trained on by random crops: the network sees no further than that
# anyway, and more different faces an hour are worth more than whole ones.
CROP = 192
HELD_OUT = 200
NETWORK: dict[str, Any] = {"width": 0.125, "min_channels": 16}
# Grey photographs, where the released network was normalised for drawings.
MEAN, STD = 0.45, 0.25
# Stretches the network's greys: paper to white, hesitant lines to dark.
BLACK, WHITE = 0.25, 0.85
LICENCE = "MIT"


def draw_targets(faces: Path, mesh: Path, labels: Path, out: Path, count: int = 4000) -> None:
    """Drawings of the first `count` labelled faces into a .npz (`index`, `drawings` [K,256,256],
    255 paper); 0.1 s each."""
    from faceloom.sketch.line_art import draw  # needs scipy, which training does not

    pictures, measured = np.load(faces), Measurements.load(mesh)
    with np.load(labels) as data:
        index, painted = data["index"][:count], data["labels"][:count]
    drawings = np.stack(
        [
            draw(pictures[i], measured.landmarks[i], layout)
            for i, layout in zip(index, painted, strict=True)
        ]
    )

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, index=index, drawings=drawings)

    write_atomically(out, write)


@dataclass(frozen=True)
class Data:
    """Training faces, layouts and drawings; the last HELD_OUT are for the report."""

    faces: Tensor  # uint8 [K,3,64,64]
    labels: Tensor  # uint8 [K,256,256]
    drawings: Tensor  # uint8 [K,256,256], 255 paper

    @staticmethod
    def load(faces: Path, labels: Path, drawings: Path) -> "Data":
        with np.load(drawings) as data:
            index, drawn = data["index"], data["drawings"]
        with np.load(labels) as data:
            painted = data["labels"][: len(index)]
        pictures = torch.from_numpy(np.load(faces)[index]).permute(0, 3, 1, 2).contiguous()
        return Data(pictures, torch.from_numpy(painted), torch.from_numpy(drawn))

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


def line_loss(logits: Tensor, dark: Tensor) -> Tensor:
    """Cross entropy with lines weighted up, plus one minus the overlap of drawn and wanted ink.

    Cross entropy alone hedges: where a line may lie here or a pixel further, it draws both in pale
    grey. The overlap rewards committing to one.
    """
    # The logits say how white a pixel is.
    logits = -logits.float()
    weight = 1 + 3 * dark
    entropy = F.binary_cross_entropy_with_logits(logits, dark, weight)
    ink = logits.sigmoid()
    overlap = 2 * (ink * dark).sum((1, 2, 3)) + 1
    amount = (ink**2).sum((1, 2, 3)) + (dark**2).sum((1, 2, 3)) + 1
    return entropy + 0.3 * (1 - overlap / amount).mean()


def train(
    faces: Path,
    labels: Path,
    drawings: Path,
    out: Path,
    checkpoint: Path,
    images: int = 24_000,
    batch: int = 8,
    rate: float = 1.5e-3,
    distant_share: float = 0.25,
    seed: int = 0,
    save_every: int = 250,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train on `images` scenes and write the model folder `out`; resumes from `checkpoint`.

    `progress` is told (images done, images in all, loss) after each batch. A preview of held-out
    faces is written beside the checkpoint whenever that is saved.
    """
    started = time.monotonic()
    data = Data.load(faces, labels, drawings)
    count = len(data.faces) - HELD_OUT
    torch.manual_seed(seed)
    network = SketchSimplification(**NETWORK)
    initialise(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    run = Run.start(network, optimizer, seed, checkpoint)
    # Of its own seed, so that a resumed run goes on exactly as an undisturbed one would.
    grounds = Grounds(SIDE, torch.Generator().manual_seed(seed + 1))
    total = images // batch
    for step in run.steps(total, rate, save_every):
        chosen = torch.randint(count, (batch,), generator=run.rng)
        scenes = data.scenes(chosen, grounds, distant_share, run.rng)
        top, left = torch.randint(SIDE - CROP + 1, (2,), generator=run.rng).tolist()
        rows, columns = slice(top, top + CROP), slice(left, left + CROP)
        grey = network_input(scenes.images[..., rows, columns])
        grey = grey.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.logits(grey)
        loss = line_loss(logits, scenes.lines[..., rows, columns])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if progress:
            progress((step + 1) * batch, images, loss.item())
        if (step + 1) % save_every == 0:
            preview(run.average, data, checkpoint.with_suffix(".png"))
    report = evaluate(run.average, data)
    report["training"] = {
        "images": total * batch, "faces": count, "batch": batch, "side": SIDE, "seed": seed,
        "seconds_of_last_start": round(time.monotonic() - started), "threads": torch.get_num_threads(),
    }  # fmt: skip
    save_model(
        out, service="sketch", network=NETWORK,
        options={"mean": MEAN, "std": STD, "black": BLACK, "white": WHITE},
        weights=run.average, licence=LICENCE, sources=sources(faces, drawings), metrics=report,
    )  # fmt: skip
    write_card_pictures(run.average, data, out / "card")


def initialise(network: SketchSimplification) -> None:
    """He initialisation: without batch norm, PyTorch's default lets 23 layers fade to nothing. The
    last bias starts at mostly white paper."""
    convolutions = [
        m for m in network if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))
    ]
    for layer in convolutions:
        # A transposed convolution of kernel 4 and stride 2 sums 4 of its 16 taps per output.
        taps = 4 if isinstance(layer, torch.nn.ConvTranspose2d) else layer.kernel_size[0] ** 2
        torch.nn.init.normal_(layer.weight, 0, (2 / (layer.in_channels * taps)) ** 0.5)
        assert layer.bias is not None
        torch.nn.init.zeros_(layer.bias)
    last = convolutions[-1]
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.fill_(2.0)


def sources(faces: Path, drawings: Path) -> list[dict[str, str]]:
    """What the model was made from, with digests of the files this run read."""
    return [
        {
            "name": "gan-face-generate", "version": "1.1.1", "license": "MIT",
            "use": "teacher DCGAN; its samples are the training pictures",
            "file": "faces.npy", "sha256": file_digest(faces),
        },
        {
            "name": "mediapipe", "version": "0.10.21", "license": "Apache-2.0",
            "use": "face mesh and selfie segmentation behind the drawn targets",
            "file": "drawings.npz", "sha256": file_digest(drawings),
        },
    ]  # fmt: skip


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


def evaluate(average: dict[str, Tensor], data: Data) -> dict[str, object]:
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


def rows_of_three(average: dict[str, Tensor], images: Tensor, beside: Tensor) -> list[np.ndarray]:
    """For each picture one tile: photo, the network's drawing, and what `beside` holds."""
    drawn = (draw_with(average, images) * 255).byte()
    return [
        np.concatenate(
            [p.permute(1, 2, 0).numpy(), *(np.repeat(g.numpy()[..., None], 3, 2) for g in grey)], 1
        )
        for p, *grey in zip((images * 255).byte(), drawn, beside, strict=True)
    ]


def preview(average: dict[str, Tensor], data: Data, path: Path, count: int = 16) -> None:
    """Held-out faces as they are and in scenes: photo, drawing, target."""
    rng = torch.Generator().manual_seed(5)
    half = torch.arange(len(data.faces) - HELD_OUT, len(data.faces) - HELD_OUT + count // 2)
    scenes = data.scenes(half, Grounds(SIDE, rng, 24), 0.5, rng)
    images = torch.cat([large(data.faces[half]), scenes.images])
    wanted = torch.cat([data.drawings[half], ((1 - scenes.lines[:, 0]) * 255).byte()])
    sheet = contact_sheet(rows_of_three(average, images, wanted), columns=2)
    write_atomically(path, lambda temporary: sheet.save(temporary, "PNG"))


def write_card_pictures(average: dict[str, Tensor], data: Data, folder: Path) -> None:
    """For the model card: held-out photos with the learned and the classical drawing."""
    images = large(data.faces[-HELD_OUT:][:24])
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    classical = torch.from_numpy(np.stack([xdog(picture) for picture in pixels]))
    sheet = contact_sheet(rows_of_three(average, images, classical), columns=3)
    sheet = sheet.resize((sheet.width * 5 // 8, sheet.height * 5 // 8)).quantize(128)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / "drawings.png", lambda temporary: sheet.save(temporary, "PNG", optimize=True)
    )
