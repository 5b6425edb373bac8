"""The tutor of the quality filter: frozen ImageNet features with a linear layer fitted to the labels.

Some 3,000 labels are too few to train MixNet-S on. They are enough for a ridge regression on features
that already exist, and that can then score any number of faces that nobody has looked at, for MixNet-S
to learn from (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.training.features import SCALES, LiteFeatures
from faceloom.training.quality.augment import SIDE, resize

FEATURES = 2 * sum(SCALES)
# Faces lie where faces lie, so what a cell shows is an eye, or a corner of the mouth.
CELLS = 6
# Chosen among 1 to 4 by three-fold AUC on the training labels, where they lie within 0.003 of each other.
PENALTY = 2.0


@torch.no_grad()
def pooled_features(backbone: LiteFeatures, images: Tensor) -> Tensor:
    """[N,3,S,S] in [0,1] -> mean and deviation of each feature map over the picture [N,992]."""
    flat = [maps.flatten(2) for maps in backbone(images * 2 - 1)]
    return torch.cat([s for maps in flat for s in (maps.mean(2), maps.std(2))], 1)


@torch.no_grad()
def placed_features(backbone: LiteFeatures, images: Tensor) -> Tensor:
    """[N,3,S,S] in [0,1] -> mean of each feature map in up to 6x6 cells of the picture [N,9216]."""
    maps = backbone(images * 2 - 1)
    cells = [F.adaptive_avg_pool2d(m, min(CELLS, m.shape[-1])) for m in maps]
    return torch.cat([cell.flatten(1) for cell in cells], 1)


def ridge(features: Tensor, target: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights [D] and bias of a ridge regression on standardised features [N,D], folded so that
    they apply to plain ones."""
    mean, std = features.mean(0), features.std(0) + 1e-3
    x = (features - mean) / std
    kernel = x @ x.T / x.shape[1]
    dual = torch.linalg.solve(kernel + penalty * torch.eye(len(x)), target - target.mean())
    weights = x.T @ dual / x.shape[1] / std
    return weights, target.mean() - mean @ weights


class Tutor:
    """Scores faces by a linear layer on their features. Each head is fitted to the labels of its own
    rows."""

    def __init__(self, faces: Tensor, share: Tensor, heads: list[Tensor]) -> None:
        """`faces` uint8 [N,3,H,W], `share` [N] of the labellers that kept each, `heads` one index
        tensor each."""
        self._backbone = LiteFeatures()
        features, mirrored = self._features_of(faces), self._features_of(faces.flip(3))
        fitted = [
            ridge(torch.cat([features[rows], mirrored[rows]]), share[rows].repeat(2), PENALTY)
            for rows in heads
        ]
        self._weights = torch.stack([weights for weights, _ in fitted], 1)
        self._bias = torch.stack([bias for _, bias in fitted])

    def score(self, faces: Tensor) -> Tensor:
        """uint8 [N,3,H,W] -> [N,heads], the mean over a face and its mirror image."""
        both = self._features_of(faces) + self._features_of(faces.flip(3))
        return both / 2 @ self._weights + self._bias

    def _features_of(self, faces: Tensor) -> Tensor:
        parts = torch.split(faces, 32)
        return torch.cat([placed_features(self._backbone, resize(p, SIDE)) for p in parts])
