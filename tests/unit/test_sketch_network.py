"""The sketch network keeps model_gan's layout; its pure steps around the network undo each other."""

import pytest
import torch

from faceloom.sketch.network import (
    SketchSimplification,
    apply_levels,
    crop_to,
    luminance,
    normalise,
    pad_to_stride,
)
from faceloom.training.sketch.critic import Studio


def test_layout_is_that_of_the_released_model() -> None:
    with torch.device("meta"):
        state = SketchSimplification().state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 44_387_249
    assert list(state) == [f"{i}.{kind}" for i in range(0, 45, 2) for kind in ("weight", "bias")]
    assert state["0.weight"].shape == (48, 1, 5, 5)
    assert state["6.weight"].shape == (128, 128, 3, 3)
    assert state["28.weight"].shape == (256, 256, 4, 4)
    assert state["44.weight"].shape == (1, 24, 3, 3)


def test_width_scales_hidden_layers_down_to_the_minimum() -> None:
    with torch.device("meta"):
        state = SketchSimplification(width=0.125, min_channels=16).state_dict()
    assert state["0.weight"].shape == (16, 1, 5, 5)
    assert state["18.weight"].shape == (128, 128, 3, 3)
    assert state["44.weight"].shape == (1, 16, 3, 3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 70), (8, 9)])
def test_padding_and_cropping_keep_the_size(height: int, width: int) -> None:
    network = SketchSimplification(width=0.05).eval()
    grey = torch.rand(1, 1, height, width)
    padded = pad_to_stride(grey)
    assert padded.shape[2] % 8 == 0 and padded.shape[3] % 8 == 0
    assert torch.equal(crop_to(padded, (height, width)), grey)
    assert torch.equal(padded[..., :height, -1], grey[..., -1])
    with torch.inference_mode():
        drawing = crop_to(network(padded), (height, width))
    assert drawing.shape == grey.shape
    assert drawing.min() >= 0 and drawing.max() <= 1


def test_logits_are_the_output_before_the_sigmoid() -> None:
    network = SketchSimplification(width=0.05).eval()
    x = torch.randn(2, 1, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(network.logits(x).sigmoid(), network(x))


def test_luminance_weighs_green_most() -> None:
    rgb = torch.eye(3).view(3, 3, 1, 1)
    assert luminance(rgb).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])


def test_normalise_and_levels() -> None:
    assert normalise(torch.tensor(0.7), 0.45, 0.25) == pytest.approx(1.0)
    levels = apply_levels(torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0]), 0.2, 0.8)
    assert levels.tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_the_critic_and_the_draughtsman_pay_separately() -> None:
    studio = Studio(SketchSimplification(width=0.02))
    grey, wanted = torch.randn(2, 1, 32, 32), torch.ones(2, 1, 32, 32)
    drawn = studio.draughtsman(grey)
    draughtsman, critic = studio.adversarial_losses(grey, drawn, wanted)
    torch.autograd.backward(draughtsman, retain_graph=True)
    assert all(p.grad is None for p in studio.critic.parameters())
    assert any(p.grad is not None for p in studio.draughtsman.parameters())
    studio.zero_grad()
    torch.autograd.backward(critic)
    assert all(p.grad is None for p in studio.draughtsman.parameters())
    assert all(p.grad is not None for p in studio.critic.parameters())
