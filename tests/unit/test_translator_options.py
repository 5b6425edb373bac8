"""Options of a training, and what follows from them: rates, shares of processes, devices."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.translator_data import small_options
from torch import nn

from faceloom.core.errors import UsageError
from faceloom.training.translator.distributed import World, join_world
from faceloom.training.translator.options import PROFILES
from faceloom.training.translator.trainer import parameter_groups, rate_at
from faceloom.translator.model import SKETCH, Translator


def test_the_rate_rises_and_falls() -> None:
    options = small_options(steps=100, warm_up=10, rate=0.5)
    rates = [rate_at(step, options) for step in range(100)]

    assert rates[0] == pytest.approx(0.05) and rates[4] == pytest.approx(0.25, rel=0.01)
    assert max(rates) == pytest.approx(rates[9], rel=0.03)
    assert rates[50] == pytest.approx(0.25)
    assert rates[99] == pytest.approx(0.005)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_only_matrices_decay() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.PReLU(2), nn.Linear(2, 2))
    decaying, free = parameter_groups(network, 0.1)

    assert (decaying["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [p.dim() for p in decaying["params"]] == [4, 2]
    assert len(free["params"]) == 6 - 2 + 1
    assert sum(len(group["params"]) for group in (decaying, free)) == 7


def test_the_full_profile_is_published_psp() -> None:
    full = PROFILES["full"]
    network = Translator(
        {"size": 16, "style_dim": 512, "n_mlp": 1, "channels": {"4": 4, "8": 4, "16": 4}},
        {SKETCH: full.encoder},
    ).encoders[SKETCH]

    assert (full.batch, full.rate, full.l2_weight, full.perceptual_weight) == (8, 1e-4, 1, 0.8)
    assert full.w_norm_weight == 0.005 and full.side == full.image_side == 256
    # 30.9 million parameters in the published body.
    body = sum(p.numel() for p in network.body.parameters())
    assert round(body / 1e6, 1) == 30.9


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "--steps is 0"),
        ({"batch": -4}, "--batch is -4"),
        ({"accumulate": 0}, "--accumulate is 0"),
        ({"seed": -1}, "--seed"),
        ({"latent_weight": -0.5}, "--latent-weight"),
        ({"latent_weight": float("nan")}, "--latent-weight"),
        ({"precision": "fp8"}, "--precision is fp32 or bf16"),
        ({"log_every": 4, "validate_every": 6}, "multiple of log_every"),
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        small_options(**changes)


@pytest.mark.parametrize(
    ("batch", "processes", "accumulate", "share"), [(8, 1, 1, 8), (8, 2, 2, 2), (12, 3, 2, 2)]
)
def test_a_batch_is_cut_evenly(batch: int, processes: int, accumulate: int, share: int) -> None:
    assert small_options(batch=batch, accumulate=accumulate).share(processes) == share
    with pytest.raises(UsageError, match="not a multiple"):
        small_options(batch=batch + 1, accumulate=accumulate).share(processes + 1)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="no CUDA device"), join_world("cuda"):
        pass
    with pytest.raises(UsageError, match="auto, cpu or cuda"), join_world("tpu"):
        pass
    with join_world("auto") as world:
        assert world == World(torch.device("cpu"), 0, 1) and world.first
