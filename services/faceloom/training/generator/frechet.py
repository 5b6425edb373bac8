"""Fréchet distance between two sets of images in the space of EfficientNet-Lite0 features.

The same formula as the FID of Heusel et al. (2017) with another network, so the numbers compare
with each other only, at equal sample size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from faceloom.stylegan2.network import Generator
from faceloom.training.features import LiteFeatures
from faceloom.training.generator.latent_screening import Verdict, steer
from faceloom.training.generator.teacher import Teacher, unit_z

# Pictures [N, 3, S, S] in [-1, 1] -> layers of features, each [N, C, H, W].
Features: TypeAlias = Callable[[Tensor], Sequence[Tensor]]


@torch.no_grad()
def feature_statistics(features: Features, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean [C] and covariance [C, C], float64, of the pooled last map of every image; C is 320 for Lite0."""
    rows = torch.cat([features(batch)[-1].mean(dim=(2, 3)) for batch in batches]).double()
    return rows.mean(dim=0), torch.cov(rows.t())


def frechet_distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """|ma - mb|^2 + tr(A + B - 2 (A B)^1/2), the trace of the root from symmetric eigenvalues."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = vectors * values.clamp(min=0).sqrt() @ vectors.t()
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    gap = (mean_a - mean_b).square().sum()
    return float(gap + cov_a.trace() + cov_b.trace() - 2 * cross)


@torch.no_grad()
def faces(net: Generator, z: Tensor, psi: float) -> Tensor:
    """Pictures [N, 3, S, S] of z [N, style_dim], fp32, in chunks; sets the mean latent first."""
    net.latent_avg.copy_(net.mean_latent(10_000, torch.Generator().manual_seed(0)))
    return torch.cat([net(part, psi) for part in torch.split(z, 50)])


class FrechetEvaluator:
    """Distance of a student to the steered teacher, ``count`` against ``count`` pictures.

    ``floor`` is the teacher against itself with other z: what a perfect student would get.
    """

    def __init__(
        self, teacher: Teacher, verdict: Verdict, features: LiteFeatures, count: int = 5_000
    ) -> None:
        self.features, self.count = features, count
        sets = [self._teacher(teacher, verdict, seed) for seed in (101, 102)]
        self.reference = sets[0]
        self.floor = frechet_distance(sets[1], sets[0])

    def _teacher(self, teacher: Teacher, verdict: Verdict, seed: int) -> tuple[Tensor, Tensor]:
        z = steer(verdict, unit_z(self.count, torch.Generator().manual_seed(seed)))
        with torch.no_grad():
            return feature_statistics(self.features, (teacher(part) for part in torch.split(z, 50)))

    def distance(self, net: Generator, psi: float = 1.0) -> float:
        """At psi 1 the student should match the teacher's whole spread."""
        z = unit_z(self.count, torch.Generator().manual_seed(103))
        batches = (faces(net, part, psi) for part in torch.split(z, 500))
        return frechet_distance(feature_statistics(self.features, batches), self.reference)
