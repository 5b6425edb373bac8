"""An encoder is trained on a GPU as on the CPU, alone or in half precision."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.translator_data import small_options

from faceloom.training.translator.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def losses(training_store: Path, tmp_path: Path) -> Callable[..., list[float]]:
    def run(device: str, **changes: Any) -> list[float]:
        out = tmp_path / f"{device}{len(list(tmp_path.iterdir()))}"
        train(
            "sketch",
            training_store / "dataset",
            small_options(steps=8, **changes),
            out,
            training_store / "store" / "tiny" / "generator",
            [training_store / "lpips.pth"],
            device=device,
        )
        return [float(row["loss"]) for row in csv.DictReader((out / "metrics.csv").open())]

    return run


def test_the_losses_are_the_cpus(losses: Callable[..., list[float]]) -> None:
    assert losses("cuda") == pytest.approx(losses("cpu"), rel=0.02)


def test_half_precision_stays_near(losses: Callable[..., list[float]]) -> None:
    assert losses("cuda", precision="bf16") == pytest.approx(losses("cpu"), rel=0.1)
