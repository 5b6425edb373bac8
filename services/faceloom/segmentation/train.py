"""The recipe of the `tiny` segmentation model: BiSeNet at a quarter of its width, trained on
pseudo-labels of the teacher's faces, straight in CelebAMask-HQ's class order.

Steps, the second one in MediaPipe's own environment:

    sample_faces   teacher weights -> faces.npy
    face_mesh      faces.npy -> mesh.npz           (python -m faceloom.segmentation.face_mesh)
    paint_labels   faces.npy, mesh.npz -> labels.npz
    train          all three -> model folder
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from faceloom.generator.teacher import Z_DIM, load_teacher
from faceloom.segmentation import labels as label_maps
from faceloom.segmentation.face_mesh import Measurements
from faceloom.segmentation.network import IMAGENET_MEAN, IMAGENET_STD, BiSeNet
from faceloom.segmentation.scenes import Grounds, compose
from faceloom.segmentation.training import (
    Run,
    contact_sheet,
    file_digest,
    save_model,
    upscale,
    write_atomically,
)

SIDE = 256
HELD_OUT = 400
CLASSES = len(label_maps.CLASS_NAMES)
NETWORK: dict[str, Any] = {"classes": CLASSES, "width": 0.25}
LICENCE = "MIT"


def sample_faces(teacher: Path, out: Path, count: int = 8000) -> None:
    """Draw `count` teacher faces into a .npy of uint8 RGB [count,64,64,3].

    Face i comes from a z of its own seed i, so a longer file starts with a shorter one's faces.
    Hundreds alternate between full and 0.85 times the spread: varied ones and clean ones.
    """
    network = load_teacher(teacher)
    faces = np.empty((count, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        for start in range(0, count, 100):
            seeds = range(start, min(start + 100, count))
            z = torch.stack(
                [torch.randn(Z_DIM, generator=torch.Generator().manual_seed(s)) for s in seeds]
            )
            images = network(z * (1.0 if start // 100 % 2 == 0 else 0.85))
            pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte()
            faces[start : seeds.stop] = pixels.permute(0, 2, 3, 1).numpy()

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, faces)

    write_atomically(out, write)


def usable(faces: NDArray[np.uint8], mesh: Measurements) -> NDArray[np.int64]:
    """Indices of the faces fit for training: found with confidence, not dark, not in profile."""
    points = mesh.landmarks[..., :2]
    width = np.linalg.norm(points[:, 234] - points[:, 454], axis=1)
    height = np.linalg.norm(points[:, 10] - points[:, 152], axis=1)
    found = np.isfinite(width) & (mesh.score > 0.6)
    frontal = width > 0.55 * np.where(found, height, np.inf)
    return np.flatnonzero(found & frontal & (faces.mean((1, 2, 3)) > 40))


def paint_labels(faces: Path, mesh: Path, out: Path) -> None:
    """Pseudo-labels of all usable faces into a .npz (`index`, `labels` [K,256,256]); 40 ms each."""
    from faceloom.segmentation.mesh_labels import paint  # needs scipy, which training does not

    pictures, measured = np.load(faces), Measurements.load(mesh)
    index = usable(pictures, measured)
    painted = np.stack(
        [paint(pictures[i], measured.landmarks[i], measured.person[i]) for i in index]
    )

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, index=index, labels=painted)

    write_atomically(out, write)


@dataclass(frozen=True)
class Data:
    """Training faces and what is drawn over them; the last HELD_OUT are for the report."""

    faces: Tensor  # uint8 [K,3,64,64]
    labels: Tensor  # uint8 [K,256,256]

    @staticmethod
    def load(faces: Path, labels: Path) -> "Data":
        with np.load(labels) as data:
            index, painted = data["index"], data["labels"]
        pictures = torch.from_numpy(np.load(faces)[index]).permute(0, 3, 1, 2).contiguous()
        return Data(pictures, torch.from_numpy(painted))


def normalise(images: Tensor) -> Tensor:
    """[N,3,H,W] in [0,1] -> network input."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def class_weights(labels: Tensor) -> Tensor:
    """Rare classes count more, but gently, or brows grow fat: inverse fourth root of their share."""
    share = torch.bincount(labels[:1000].flatten().int(), minlength=CLASSES).float()
    share /= share.sum()
    weights = ((0.05 / share.clamp(min=1e-5)) ** 0.25).clamp(0.6, 2)
    return torch.where(share > 0, weights, 0.5)


def hard_cross_entropy(scores: Tensor, labels: Tensor, weights: Tensor, side: int) -> Tensor:
    """Weighted cross entropy at side x side, plus its mean over the hardest eighth of the pixels,
    where the small parts and the borders are.

    Scores are stored at 1/8 or 1/16; comparing them at the full 256 would cost more than the whole
    network and tell it little more than half of that does.
    """
    scores = F.interpolate(scores.float(), side, mode="bilinear", align_corners=True)
    labels = F.interpolate(labels[:, None].float(), side, mode="nearest")[:, 0].long()
    loss = F.cross_entropy(scores, labels, weights, reduction="none").flatten()
    return loss.mean() + 0.5 * loss.topk(len(loss) // 8).values.mean()


def train(
    faces: Path,
    labels: Path,
    out: Path,
    checkpoint: Path,
    images: int = 48_000,
    batch: int = 16,
    rate: float = 3e-3,
    distant_share: float = 0.5,
    seed: int = 0,
    save_every: int = 250,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train on `images` scenes and write the model folder `out`; resumes from `checkpoint`.

    `progress` is told (images done, images in all, loss) after each batch. A preview of held-out
    faces is written beside the checkpoint whenever that is saved.
    """
    started = time.monotonic()
    data = Data.load(faces, labels)
    count = len(data.faces) - HELD_OUT
    torch.manual_seed(seed)
    network = BiSeNet(**NETWORK).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    run = Run.start(network, optimizer, seed, checkpoint)
    weights = class_weights(data.labels)
    # Of its own seed, so that a resumed run goes on exactly as an undisturbed one would.
    grounds = Grounds(SIDE, torch.Generator().manual_seed(seed + 1))
    total = images // batch
    for step in run.steps(total, rate, save_every):
        chosen = torch.randint(count, (batch,), generator=run.rng)
        scenes = compose(
            data.faces[chosen], data.labels[chosen], None, grounds, distant_share, run.rng
        )
        network.train()
        with torch.autocast("cpu", torch.bfloat16):
            heads = network.forward_heads(normalise(scenes.images))
        main, context8, context16 = (
            hard_cross_entropy(head, scenes.labels, weights, side)
            for head, side in zip(heads, (SIDE // 2, SIDE // 4, SIDE // 8), strict=True)
        )
        loss = main + 0.4 * (context8 + context16)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        if progress:
            progress((step + 1) * batch, images, main.item())
        if (step + 1) % save_every == 0:
            preview(run.average, data, checkpoint.with_suffix(".png"))
    report = evaluate(run.average, data, seed)
    report["training"] = {
        "images": total * batch, "faces": count, "batch": batch, "side": SIDE, "seed": seed,
        "seconds_of_last_start": round(time.monotonic() - started), "threads": torch.get_num_threads(),
    }  # fmt: skip
    save_model(
        out, service="segmentation", network=NETWORK,
        options={"side": SIDE, "order": "celebamask-hq", "min_side": 256, "max_side": 1024},
        weights=run.average, licence=LICENCE, sources=sources(faces, labels), metrics=report,
    )  # fmt: skip
    write_card_pictures(run.average, data, out / "card")


def sources(faces: Path, labels: Path) -> list[dict[str, str]]:
    """What the model was made from, with digests of the files this run read."""
    return [
        {
            "name": "gan-face-generate", "version": "1.1.1", "license": "MIT",
            "use": "teacher DCGAN; its samples are the training pictures",
            "file": "faces.npy", "sha256": file_digest(faces),
        },
        {
            "name": "mediapipe", "version": "0.10.21", "license": "Apache-2.0",
            "use": "face mesh, face detection and selfie segmentation behind the pseudo-labels",
            "file": "labels.npz", "sha256": file_digest(labels),
        },
    ]  # fmt: skip


def load_average(average: dict[str, Tensor]) -> BiSeNet:
    network = BiSeNet(**NETWORK)
    network.load_state_dict(average)
    return network.eval()


@torch.inference_mode()
def predict(network: BiSeNet, images: Tensor) -> Tensor:
    """[N,3,H,W] in [0,1] -> label ids [N,H,W]."""
    scores: Tensor = network(normalise(images))
    return scores.argmax(1)


def intersection_over_union(confusion: Tensor) -> dict[str, float]:
    """Per class that occurs in the reference, from counts [reference, predicted]."""
    hits = confusion.diag()
    union = confusion.sum(0) + confusion.sum(1) - hits
    present = confusion.sum(1) > 0
    return {
        name: round(float(hits[i] / union[i]), 4)
        for i, name in enumerate(label_maps.CLASS_NAMES)
        if present[i]
    }


def evaluate(average: dict[str, Tensor], data: Data, seed: int) -> dict[str, object]:
    """IoU against pseudo-labels of held-out faces: as they are, and in distant scenes."""
    network = load_average(average)
    faces, labels = data.faces[-HELD_OUT:], data.labels[-HELD_OUT:]
    rng = torch.Generator().manual_seed(seed + 1)
    grounds = Grounds(SIDE, rng)
    report: dict[str, object] = {"held_out_faces": HELD_OUT}
    for name in ("as_generated", "distant_scenes"):
        confusion = torch.zeros(CLASSES, CLASSES)
        for start in range(0, HELD_OUT, 20):
            part = slice(start, start + 20)
            if name == "as_generated":
                images, truth = large(faces[part]), labels[part].long()
            else:
                scenes = compose(faces[part], labels[part], None, grounds, 1.0, rng)
                images, truth = scenes.images, scenes.labels
            pairs = truth * CLASSES + predict(network, images)
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


def preview(average: dict[str, Tensor], data: Data, path: Path, count: int = 24) -> None:
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


def write_card_pictures(average: dict[str, Tensor], data: Data, folder: Path) -> None:
    """64 overlays of held-out faces for the model card."""
    network = load_average(average)
    images = large(data.faces[-HELD_OUT:][:64])
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    found = predict(network, images).numpy().astype(np.uint8)
    overlays = [
        label_maps.overlay(p, ids, 0.55)[::2, ::2] for p, ids in zip(pixels, found, strict=True)
    ]
    sheet = contact_sheet(overlays, columns=8).quantize(128)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / "overlays.png", lambda temporary: sheet.save(temporary, "PNG", optimize=True)
    )
