"""Projected discriminator: small heads on frozen features (Sauer et al., "Projected GANs", 2021).

Fixed random 1x1 projections mix the channels of each scale, so that the heads cannot live off the
few features that tell the two sides apart at once; spectral norm keeps them weak.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from faceloom.training.features import SCALES

_WIDTH = 64


class Adversary(nn.Module):
    """Four feature maps -> one row of logits [N, cells] over all cells of all scales."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.ModuleList([nn.Conv2d(c, _WIDTH, 1, bias=False) for c in SCALES])
        self.project.requires_grad_(False)
        self.heads = nn.ModuleList(
            [
                nn.Sequential(
                    spectral_norm(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)),
                    nn.LeakyReLU(0.2),
                    spectral_norm(nn.Conv2d(_WIDTH, 1, 1)),
                )
                for _ in SCALES
            ]
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        rows = []
        for project, head, x in zip(self.project, self.heads, maps, strict=True):
            # features differ in scale from level to level; the heads expect about unit size
            x = x / (x.detach().square().mean().sqrt() + 1e-6)
            rows.append(head(project(x) * 2.0).flatten(1))
        return torch.cat(rows, dim=1)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator; every cell counts the same."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
