"""Pre-training of the quality filter on faces without labels, in place of ImageNet weights, which
cannot be had: MixNet-S learns to foretell, from an augmented face,

- the pooled features of a frozen EfficientNet-Lite0 (ImageNet) for the same view, and
- whether the view has been spoiled by an artificial flaw.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.quality.network import HEAD_CHANNELS, MixNetS
from faceloom.training.features import LiteFeatures
from faceloom.training.quality.augment import SIDE, augment, spoil
from faceloom.training.quality.calibration import normalise
from faceloom.training.quality.distill_teacher import FEATURES, pooled_features
from faceloom.training.runs import TrainingRun


class Pupil(nn.Module):
    """MixNet-S with a second head for the features; normalisation of these is part of its state."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = MixNetS(num_classes=2)
        self.regressor = nn.Linear(HEAD_CHANNELS, FEATURES)
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("std", torch.ones(FEATURES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.features(x)
        return self.network.classifier(features), self.regressor(features)


def pretrain(
    faces: Path,
    checkpoint: Path,
    images: int = 30_000,
    batch: int = 32,
    rate: float = 2e-3,
    seed: int = 0,
    save_every: int = 250,
    progress: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train on `faces` (.npy, uint8 RGB [K,64,64,3]); resumes from, and ends in, `checkpoint`.

    Half of each batch is spoiled. Features are foretold for the spoiled views too.
    """
    torch.manual_seed(seed)
    data = torch.from_numpy(np.load(faces)).permute(0, 3, 1, 2).contiguous()
    tutor = LiteFeatures()
    pupil = Pupil().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rng = torch.Generator().manual_seed(seed + 1)
    first = [augment(part, SIDE, rng) for part in torch.split(data[:512], 64)]
    sample = torch.cat([pooled_features(tutor, views) for views in first])
    pupil.mean.copy_(sample.mean(0))
    pupil.std.copy_(sample.std(0) + 1e-3)
    optimizer = torch.optim.AdamW(pupil.parameters(), rate, weight_decay=0.02)
    run = TrainingRun.start(pupil, optimizer, seed, checkpoint)
    intact = (torch.arange(batch) >= batch // 2).long()
    for step in run.steps(images // batch, rate, save_every):
        chosen = torch.randint(len(data), (batch,), generator=run.rng)
        views = augment(data[chosen], SIDE, run.rng)
        views = torch.cat([spoil(views[: batch // 2], run.rng), views[batch // 2 :]])
        target = (pooled_features(tutor, views) - pupil.mean) / pupil.std
        logits, features = pupil(normalise(views))
        regression = F.smooth_l1_loss(features, target)
        loss = regression + 0.3 * F.cross_entropy(logits, intact)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(pupil.parameters(), 2.0)
        optimizer.step()
        if progress:
            progress((step + 1) * batch, images, loss.item())
