"""Teaches the quality filter another taste: fine-tuning on labels of a dataset, and the comparison with
the filter it started from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from faceloom.core.errors import UsageError
from faceloom.quality.network import MixNetS
from faceloom.store.model import Model
from faceloom.store.torch_model import load_weights
from faceloom.training.quality import report as reports
from faceloom.training.quality.augment import GENTLE, augment
from faceloom.training.quality.calibration import (
    KEEP,
    NETWORK,
    classifier_of,
    normalise,
    platt,
    scores_by,
    sigmoid,
)
from faceloom.training.quality.choices import Choices
from faceloom.training.quality.pictures import write_card_pictures
from faceloom.training.runs import TrainingRun, save_model

BATCH = 32
RATE = 3e-4


@dataclass(frozen=True)
class Judgement:
    """How a filter does on the held-out labels, at its own threshold."""

    auc: float
    threshold: float
    precision: float
    recall: float
    accepted_share: float
    expected_calibration_error: float


@dataclass(frozen=True)
class FilterComparison:
    """The old and the new filter on the same held-out labels."""

    labels: int
    held_out: int
    old: Judgement
    new: Judgement

    @property
    def better(self) -> bool:
        """Whether the new filter ranks faces better than the old one."""
        return self.new.auc > self.old.auc


def fine_tune(
    choices: Choices,
    old: Model,
    out: Path,
    checkpoint: Path,
    steps: int = 400,
    precision: float = 0.9,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> FilterComparison:
    """Fine-tune `old` and write the model folder `out`; resumes from `checkpoint`.

    Kept and rejected faces come equally often, whatever the labels' shares are. The "tune" part calibrates
    the scores and chooses the lowest threshold with that precision; the held-out part only judges.

    Raises:
        UsageError: `old` is not a filter that Faceloom trained.
    """
    if dict(old.network) != NETWORK or old.options.keys() - {"side", "keep_index", "threshold"}:
        raise UsageError(f"{old.folder} was imported; teach it with the trainer that made it")
    side: int = old.options["side"]
    network = _one_margin(old)
    _learn(network, choices, side, steps, seed, checkpoint, progress)

    faces, keep = choices.of("tune")
    margins = scores_by(network, faces, side)[:, 0]
    scale, shift = platt(margins, keep)
    chosen = reports.choose_threshold(sigmoid(scale * margins + shift), keep, precision)
    new = classifier_of(network, 0, scale, shift)

    faces, keep = choices.of("held_out")
    before = MixNetS(**old.network)
    before.load_state_dict(load_weights(old))
    scores = _probabilities(new, KEEP, faces, side)
    comparison = FilterComparison(
        labels=len(choices.keep),
        held_out=len(keep),
        old=_judge(
            _probabilities(before.eval(), old.options["keep_index"], faces, side),
            keep,
            old.options["threshold"],
        ),
        new=_judge(scores, keep, chosen.threshold),
    )
    save_model(
        out, service="quality", network=NETWORK,
        options={"side": side, "keep_index": KEEP, "threshold": round(chosen.threshold, 6)},
        weights=new.state_dict(), licence=old.license,
        sources=[{"name": f"quality {old.name}", "sha256": old.weights.sha256, "use": "start"}],
        metrics={"fine_tuning": {"steps": steps, "seed": seed, **asdict(comparison)}}, half=True,
    )  # fmt: skip
    write_card_pictures(faces, scores, reports.calibration_bins(scores, keep), out / "card")
    return comparison


def _one_margin(model: Model) -> MixNetS:
    """The network with one output, the logit of "keep" less that of "reject"."""
    state = load_weights(model)
    keep = model.options["keep_index"]
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = (state[name][keep] - state[name][1 - keep])[None]
    network = MixNetS(num_classes=1)
    network.load_state_dict(state)
    return network


def _learn(
    network: MixNetS, choices: Choices, side: int, steps: int, seed: int, checkpoint: Path,
    progress: Callable[[int, int, float], None] | None,
) -> None:  # fmt: skip
    """Train in place; ends with the moving average of the weights."""
    faces, keep = choices.of("train")
    kinds = [torch.from_numpy(np.flatnonzero(keep == kind)) for kind in (True, False)]
    answers = torch.cat([torch.ones(BATCH // 2), torch.zeros(BATCH // 2)])
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
    run = TrainingRun.start(network, optimizer, seed, checkpoint)
    # In eval mode the statistics of the many faces seen before are kept, not those of a few labels.
    network.eval()
    for step in run.steps(steps, RATE, save_every=50, warm_up=20):
        chosen = torch.cat(
            [rows[torch.randint(len(rows), (BATCH // 2,), generator=run.rng)] for rows in kinds]
        )
        margins = network(normalise(augment(faces[chosen], side, run.rng, GENTLE)))[:, 0]
        loss = F.binary_cross_entropy_with_logits(margins, answers)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        if progress:
            progress(step + 1, steps, loss.item())
    network.load_state_dict(run.average)


def _probabilities(network: MixNetS, keep: int, faces: Tensor, side: int) -> NDArray[np.float64]:
    logits = scores_by(network, faces, side)
    return sigmoid(logits[:, keep] - logits[:, 1 - keep])


def _judge(scores: NDArray[np.float64], keep: NDArray[np.bool_], threshold: float) -> Judgement:
    point = reports.operating_point(scores, keep, threshold)
    figures: dict[str, Any] = {
        "auc": reports.auc(scores, keep),
        **asdict(point),
        "expected_calibration_error": reports.expected_calibration_error(
            reports.calibration_bins(scores, keep)
        ),
    }
    return Judgement(**{name: round(value, 4) for name, value in figures.items()})
