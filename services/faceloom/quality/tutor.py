"""The tutor of the quality filter: frozen ImageNet features with a linear layer fitted to the labels.

Some 900 labels are too few to train MixNet-S on. They are enough for a ridge regression on features
that already exist, and that can then score any number of faces that nobody has looked at, in any
view, for MixNet-S to learn from (Hinton et al., "Distilling the Knowledge in a Neural Network",
2015; Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022).
"""

import torch
from torch import Tensor, nn

from faceloom.generator.features import SCALES, LiteFeatures
from faceloom.quality.views import resize

SIDE = 96
FEATURES = 2 * sum(SCALES)
# Chosen among 0.03 to 10 by AUC on the held-out labels, where 0.3 to 3 lie within 0.015 of each other.
PENALTY = 1.0


@torch.no_grad()
def pooled_features(backbone: LiteFeatures, images: Tensor) -> Tensor:
    """[N,3,S,S] in [0,1] -> mean and deviation of each feature map over the picture [N,992]."""
    flat = [maps.flatten(2) for maps in backbone(images * 2 - 1)]
    return torch.cat([s for maps in flat for s in (maps.mean(2), maps.std(2))], 1)


def ridge(features: Tensor, target: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights [D] and bias of a ridge regression on standardised features [N,D], folded so that
    they apply to plain ones."""
    mean, std = features.mean(0), features.std(0) + 1e-3
    x = (features - mean) / std
    kernel = x @ x.T / x.shape[1]
    dual = torch.linalg.solve(kernel + penalty * torch.eye(len(x)), target - target.mean())
    weights = x.T @ dual / x.shape[1] / std
    return weights, target.mean() - mean @ weights


class Tutor(nn.Module):
    """Views [N,3,96,96] in [0,1] -> scores [N,heads] of zero mean and unit deviation over faces like
    the labelled ones. Each head is fitted to the labels of its own rows."""

    weights: Tensor
    bias: Tensor

    def __init__(self, faces: Tensor, keep: Tensor, heads: list[Tensor]) -> None:
        """`faces` uint8 [N,3,H,W], `keep` bool [N], `heads` one index tensor each."""
        super().__init__()
        self.backbone = LiteFeatures()
        features = self._features_of(faces)
        mirrored = self._features_of(faces.flip(3))
        fitted = []
        for rows in heads:
            both = torch.cat([features[rows], mirrored[rows]])
            weights, bias = ridge(both, keep[rows].float().repeat(2), PENALTY * 2)
            # A head fitted to fewer labels is more timid; bring all to one scale.
            scores = features @ weights + bias
            fitted.append((weights / scores.std(), (bias - scores.mean()) / scores.std()))
        self.register_buffer("weights", torch.stack([w for w, _ in fitted], 1))
        self.register_buffer("bias", torch.stack([b for _, b in fitted]))

    def _features_of(self, faces: Tensor) -> Tensor:
        parts = torch.split(faces, 32)
        return torch.cat([pooled_features(self.backbone, resize(p, SIDE)) for p in parts])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(scores [N,heads], features [N,992])."""
        features = pooled_features(self.backbone, images)
        return features @ self.weights + self.bias, features
