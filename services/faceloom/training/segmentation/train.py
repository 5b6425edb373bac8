"""The recipe of the `tiny` segmentation model: BiSeNet at a quarter of its width, trained on
pseudo-labels of the teacher's faces, straight in CelebAMask-HQ's class order.

Steps, the second one in MediaPipe's own environment:

    sample_faces   teacher weights -> faces.npy
    face_mesh      faces.npy -> mesh.npz           (python -m faceloom.training.segmentation.face_mesh)
    paint_labels   faces.npy, mesh.npz -> labels.npz
    train          all three -> model folder
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.segmentation.network import BiSeNet
from faceloom.store.model import file_sha256
from faceloom.training.runs import TrainingRun, save_model
from faceloom.training.segmentation.evaluate import (
    CLASSES,
    HELD_OUT,
    NETWORK,
    SIDE,
    LabelledFaces,
    evaluate,
    normalise,
    preview,
    write_card_pictures,
)
from faceloom.training.segmentation.scenes import Grounds, Scenes, compose

LICENCE = "MIT"


def class_weights(labels: Tensor) -> Tensor:
    """Rare classes count more, but gently, or brows grow fat: inverse fourth root of their share."""
    share = torch.bincount(labels[:1000].flatten().int(), minlength=CLASSES).float()
    share /= share.sum()
    weights = ((0.05 / share.clamp(min=1e-5)) ** 0.25).clamp(0.7, 1.5)
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


def losses(network: BiSeNet, scenes: Scenes, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of the scores that are served, and that of the two heads on the context path."""
    with torch.autocast("cpu", torch.bfloat16):
        heads = network.forward_heads(normalise(scenes.images))
    main, context8, context16 = (
        hard_cross_entropy(head, scenes.labels, weights, side)
        for head, side in zip(heads, (SIDE // 2, SIDE // 4, SIDE // 8), strict=True)
    )
    return main, context8 + context16


def train(
    faces: Path,
    labels: Path,
    out: Path,
    checkpoint: Path,
    images: int = 32_000,
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
    data = LabelledFaces.load(faces, labels)
    count = len(data.faces) - HELD_OUT
    torch.manual_seed(seed)
    network = BiSeNet(**NETWORK).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    run = TrainingRun.start(network, optimizer, seed, checkpoint)
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
        main, context = losses(network, scenes, weights)
        optimizer.zero_grad()
        torch.autograd.backward(main + 0.4 * context)
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
            "file": "faces.npy", "sha256": file_sha256(faces),
        },
        {
            "name": "mediapipe", "version": "0.10.21", "license": "Apache-2.0",
            "use": "face mesh, face detection and selfie segmentation behind the pseudo-labels",
            "file": "labels.npz", "sha256": file_sha256(labels),
        },
    ]  # fmt: skip
