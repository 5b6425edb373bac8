"""Scenes keep labels, lines and pictures together; runs resume exactly; files appear whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from faceloom.layouts.classes import CLASS_NAMES
from faceloom.training.runs import TrainingRun, save_model, save_state, write_atomically
from faceloom.training.segmentation.scenes import Grounds, compose, tile_grids


def parts(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    faces = torch.full((count, 3, 64, 64), 120, dtype=torch.uint8)
    labels = torch.zeros(count, 64, 64, dtype=torch.uint8)
    labels[:, 16:48, 16:32] = CLASS_NAMES.index("r_eye")
    labels[:, 16:48, 32:48] = CLASS_NAMES.index("l_eye")
    lines = torch.full((count, 64, 64), 255, dtype=torch.uint8)
    lines[:, 30:34] = 0
    return faces, labels, lines


@pytest.mark.parametrize("distant_share", [0.0, 1.0])
def test_shapes_ranges_and_sides(distant_share: float) -> None:
    rng = torch.Generator().manual_seed(0)
    scenes = compose(*parts(8), Grounds(64, rng, stock=4), distant_share, rng)
    assert scenes.images.shape == (8, 3, 64, 64)
    assert scenes.images.min() >= 0 and scenes.images.max() <= 1
    assert scenes.lines.shape == (8, 1, 64, 64) and scenes.lines.max() > 0.5
    left, right = CLASS_NAMES.index("l_eye"), CLASS_NAMES.index("r_eye")
    known = {0, left, right, CLASS_NAMES.index("cloth")}
    assert set(scenes.labels.unique().tolist()) <= known
    # Mirrored or not, the subject's left eye is the one further right in the picture.
    for layout in scenes.labels:
        columns = torch.arange(64.0)
        if (layout == left).any() and (layout == right).any():
            mean = [
                (columns * (layout == i).sum(0)).sum() / (layout == i).sum() for i in (left, right)
            ]
            assert mean[0] > mean[1]


def test_distant_tiles_are_smaller_than_the_frame() -> None:
    rng = torch.Generator().manual_seed(0)
    _, scale, _ = tile_grids(50, 16, torch.ones(50, 1, 1, 1, dtype=torch.bool), rng)
    assert scale.max() < 0.85 and scale.min() < 0.4


def train_a_little(checkpoint: Path, total: int, stop: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(network.parameters())
    run = TrainingRun.start(network, optimizer, 0, checkpoint)
    for step in run.steps(total, 0.1, save_every=2):
        if step == stop:
            break
        loss = network(torch.randn(4, 3, generator=run.rng)).square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return run.average


def test_a_stopped_run_resumes_exactly(tmp_path: Path) -> None:
    whole = train_a_little(tmp_path / "whole.pt", 6, stop=-1)
    train_a_little(tmp_path / "parts.pt", 6, stop=4)
    resumed = train_a_little(tmp_path / "parts.pt", 6, stop=-1)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_state(tmp_path / name, {"a": torch.ones(2)})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_model_folder_matches_its_digest(tmp_path: Path) -> None:
    from faceloom.store.model import open_model

    save_model(
        tmp_path, service="sketch", network={"width": 1}, options={}, licence="MIT", sources=[],
        weights={"a": torch.ones(2), "steps": torch.tensor(3)}, metrics={"x": 1.0}, half=True,
    )  # fmt: skip
    model = open_model(tmp_path)
    assert model.service == "sketch" and model.metrics == {"x": 1.0}
    assert np.isclose(model.weights_path.stat().st_size, 140, atol=100)
