"""What a training run of the generator consists of, saved and restored as one file."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from faceloom.stylegan2.layers import EqualLinear, ModulatedConv2d
from faceloom.stylegan2.network import Generator
from faceloom.training.generator.adversary import Adversary
from faceloom.training.generator.latent_screening import Verdict
from faceloom.training.generator.muon import Muon
from faceloom.training.generator.objective import Hints
from faceloom.training.generator.teacher import Teacher, unit_z

NETWORK: dict[str, Any] = {
    "size": 64,
    "style_dim": 100,
    "n_mlp": 2,
    "channels": {"4": 256, "8": 256, "16": 128, "32": 96, "64": 48},
    "lr_mlp": 0.1,
}


def start_linear(student: Generator) -> None:
    """Begin with a mapping that is nearly the identity, and styles that are centred on it.

    The teacher's first layer is linear in z; behind a random mapping the student first has to
    learn to undo it. The bias keeps the leaky ReLU on its straight side.
    """
    with torch.no_grad():
        for layer in student.style:
            if not isinstance(layer, EqualLinear):
                continue
            gain = 2**0.5
            layer.weight.copy_(torch.eye(student.style_dim) / (layer.scale * gain))
            layer.bias.fill_(2.0 / layer.lr_mul)
        mean = student.mean_latent(4096, torch.Generator().manual_seed(0))
        for module in student.modules():
            if isinstance(module, ModulatedConv2d):
                style = module.modulation
                style.bias.sub_(style.weight @ mean * style.scale)


class GeneratorRun:
    """Everything that training changes, saved and restored as one file."""

    def __init__(self, teacher: Teacher, seed: int) -> None:
        torch.manual_seed(seed)
        self.student = Generator(**NETWORK)
        start_linear(self.student)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            taps = teacher.features(unit_z(256, torch.Generator().manual_seed(seed)))
        self.hints = Hints(NETWORK["channels"], [float(tap.var()) for tap in taps[:-1]])
        self.adversary = Adversary()
        self.verdict = Verdict()
        matrices: list[Tensor] = []
        rest: list[Tensor] = []
        for name, weight in self.student.named_parameters():
            wide = weight.dim() == 5 and weight.shape[-1] == 3
            (matrices if wide or "modulation.weight" in name else rest).append(weight)
        self.muon = Muon(matrices, lr=0.0)
        groups: list[dict[str, Any]] = [{"params": rest}, {"params": [*self.hints.parameters()]}]
        self.adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        heads = [p for p in self.adversary.parameters() if p.requires_grad]
        self.adversary_adam = torch.optim.Adam(heads, lr=4e-4, betas=(0.0, 0.99))
        self.phase = 0
        self.done = 0  # images of the current phase
        self.images = 0  # of all phases
        self.seconds = 0.0
        self.best = float("inf")

    _PARTS = (
        "student", "average", "hints", "adversary", "verdict", "muon", "adam", "adversary_adam",
    )  # fmt: skip
    _PLAIN = ("phase", "done", "images", "seconds", "best")

    def state(self) -> dict[str, Any]:
        """All state, as tensors and plain values."""
        state: dict[str, Any] = {name: getattr(self, name).state_dict() for name in self._PARTS}
        state["latent_avg"] = self.student.latent_avg
        state["random"] = self.random.get_state()
        return state | {name: getattr(self, name) for name in self._PLAIN}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.student.latent_avg.copy_(state["latent_avg"])
        self.random.set_state(state["random"])
        for name in self._PLAIN:
            setattr(self, name, state[name])


@torch.no_grad()
def update_average(run: GeneratorRun, keep: float) -> None:
    """Exponential moving average of the student's weights."""
    for mean, now in zip(run.average.parameters(), run.student.parameters(), strict=True):
        mean.lerp_(now, 1 - keep)
