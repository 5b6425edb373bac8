"""The terms of the generator's loss that compare a student's picture with its teacher's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.training.generator.teacher import WIDTHS


class Hints(nn.Module):
    """1x1 convolutions from the student's feature maps to the teacher's, 4 to 32 px."""

    def __init__(self, channels: dict[str, int], variance: list[float]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(
            [nn.Conv2d(channels[str(side)], width, 1) for side, width in WIDTHS.items()]
        )
        self.variance = variance

    def forward(self, levels: list[tuple[Tensor, Tensor]], taps: list[Tensor]) -> Tensor:
        """Sum over levels of the squared error relative to the variance of the teacher's maps."""
        total = torch.zeros(())
        for conv, (x, _), tap, variance in zip(
            self.maps, levels, taps, self.variance, strict=False
        ):
            total = total + (conv(x).float() - tap.float()).square().mean() / variance
        return total


def pyramid_l1(image: Tensor, target: Tensor) -> Tensor:
    """L1 at every size from full down to 4 px, so that coarse errors weigh as much as fine ones."""
    total = torch.zeros(())
    while image.shape[-1] >= 8:
        total = total + (image - target).abs().mean()
        image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
    return total


def feature_l1(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
    """Mean over scales of |a - b| relative to |b|."""
    terms = [(a - b).abs().mean() / b.abs().mean() for a, b in zip(ours, theirs, strict=True)]
    return torch.stack(terms).mean()
