"""The StyleGAN2 generator against a slow, plain implementation written here from the papers."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.stylegan2.network import Generator

State = dict[str, Tensor]

# (size, multiplier): parameters, values in stored buffers, keys of the upstream code
PUBLISHED = {
    (256, 1): (24_767_458, 174_928, 135),
    (256, 2): (30_034_338, 174_928, 135),
    (512, 1): (24_860_935, 699_248, 153),
    (512, 2): (30_276_583, 699_248, 153),
    (1024, 1): (24_900_764, 2_796_432, 171),
    (1024, 2): (30_370_060, 2_796_432, 171),
}


def upfirdn(x: Tensor, kernel: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """Insert zeros, pad, and convolve (kernel flipped): [N, C, H, W], channel by channel."""
    n, c, h, w = x.shape
    grid = torch.zeros(n, c, h * up, w * up)
    grid[:, :, ::up, ::up] = x
    grid = F.pad(grid, (*pad, *pad))
    flipped = kernel.flip(0, 1)[None, None]
    return torch.cat([F.conv2d(grid[:, i : i + 1], flipped) for i in range(c)], dim=1)


def linear(state: State, name: str, x: Tensor, lr_mul: float = 1.0) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return x @ (weight * lr_mul / math.sqrt(weight.shape[1])).t() + bias * lr_mul


def modulated(state: State, name: str, x: Tensor, w: Tensor, up: bool, demodulate: bool) -> Tensor:
    """One explicit weight tensor per sample."""
    weight = state[f"{name}.weight"][0]
    styles = linear(state, f"{name}.modulation", w)
    outputs = []
    for sample, style in zip(x, styles, strict=True):
        own = weight * style[None, :, None, None] / math.sqrt(weight[0].numel())
        if demodulate:
            own = own / torch.sqrt(own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            y = F.conv_transpose2d(sample[None], own.transpose(0, 1), stride=2)
            y = upfirdn(y, state[f"{name}.blur.kernel"], 1, (1, 1))
        else:
            y = F.conv2d(sample[None], own, padding=own.shape[-1] // 2)
        outputs.append(y)
    return torch.cat(outputs)


def styled(state: State, name: str, x: Tensor, w: Tensor, noise: Tensor, up: bool) -> Tensor:
    x = modulated(state, f"{name}.conv", x, w, up, True)
    x = x + state[f"{name}.noise.weight"] * noise
    x = x + state[f"{name}.activate.bias"][None, :, None, None]
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def to_rgb(state: State, name: str, x: Tensor, w: Tensor, skip: Tensor | None) -> Tensor:
    rgb = modulated(state, f"{name}.conv", x, w, False, False) + state[f"{name}.bias"]
    if skip is None:
        return rgb
    return rgb + upfirdn(skip, state[f"{name}.upsample.kernel"], 2, (2, 1))


def slow_mapping(state: State, z: Tensor, layers: int, lr_mul: float) -> Tensor:
    x = z / torch.sqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    for i in range(1, layers + 1):
        x = linear(state, f"style.{i}", x, lr_mul)
        x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    return x


def slow_synthesis(state: State, w_plus: Tensor, size: int) -> Tensor:
    """Layer use of the upstream forward: conv1 w0, to_rgb1 w1, then (up, conv, rgb) from w1 on."""
    noise = [state[f"noises.noise_{i}"] for i in range(2 * int(math.log2(size)) - 3)]
    x = state["input.input"].repeat(len(w_plus), 1, 1, 1)
    x = styled(state, "conv1", x, w_plus[:, 0], noise[0], False)
    rgb = to_rgb(state, "to_rgb1", x, w_plus[:, 1], None)
    for k in range(int(math.log2(size)) - 2):
        i = 2 * k + 1
        x = styled(state, f"convs.{2 * k}", x, w_plus[:, i], noise[i], True)
        x = styled(state, f"convs.{2 * k + 1}", x, w_plus[:, i + 1], noise[i + 1], False)
        rgb = to_rgb(state, f"to_rgbs.{k}", x, w_plus[:, i + 2], rgb)
    return rgb


def shaken(seed: int = 0) -> Generator:
    """A small generator none of whose weights keeps a value that would hide a mistake."""
    torch.manual_seed(seed)
    net = Generator(32, 24, 3, channels={4: 20, 8: 16, 16: 12, 32: 8}, lr_mlp=0.1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        for name, kernel in net.named_buffers():
            if name.endswith("kernel"):  # asymmetric, so that a missing flip shows
                kernel.copy_(torch.rand_like(kernel))
        net.latent_avg.normal_()
    return net


@torch.no_grad()
@pytest.mark.parametrize("frozen", [False, True])
def test_equals_the_plain_implementation(frozen: bool) -> None:
    net = shaken()
    state = net.state_dict()
    if frozen:
        net.freeze()
    z = 3 * torch.randn(3, 24)
    w = net.mapping(z)
    torch.testing.assert_close(w, slow_mapping(state, z, 3, 0.1), atol=1e-5, rtol=1e-5)
    w_plus = torch.randn(3, net.n_latent, 24)
    expected = slow_synthesis(state, w_plus, 32)
    error = (net.synthesis(w_plus) - expected).abs().max() / expected.abs().max()
    assert error < 1e-4


def test_a_frozen_network_holds_its_weights_once() -> None:
    net = shaken()
    names = set(net.state_dict())

    net.freeze()

    gone = names - set(net.state_dict())
    layers = {name.rpartition(".")[0] for name in names if name.endswith(".conv.weight")}
    assert {f"{layer}.weight" for layer in layers} <= gone
    assert {"style.1.weight", "style.3.bias", "conv1.conv.modulation.weight"} <= gone


@pytest.mark.parametrize(("size", "multiplier"), PUBLISHED)
def test_has_the_published_parameters(size: int, multiplier: int) -> None:
    with torch.device("meta"):
        net = Generator(size, 512, 8, channel_multiplier=multiplier)
    state = net.state_dict()
    parameters = sum(weight.numel() for weight in net.parameters())
    buffers = sum(value.numel() for value in state.values()) - parameters
    assert (parameters, buffers, len(state)) == PUBLISHED[size, multiplier]


def test_has_the_published_names() -> None:
    with torch.device("meta"):
        state = Generator(512, 512, 8).state_dict()
    conv = ["weight", "modulation.weight", "modulation.bias"]
    names = {f"style.{i}.{part}" for i in range(1, 9) for part in ("weight", "bias")}
    names |= {"input.input"} | {f"noises.noise_{i}" for i in range(15)}
    for layer in ["conv1", *(f"convs.{i}" for i in range(14))]:
        names |= {f"{layer}.conv.{part}" for part in conv}
        names |= {f"{layer}.noise.weight", f"{layer}.activate.bias"}
    for layer in ["to_rgb1", *(f"to_rgbs.{i}" for i in range(7))]:
        names |= {f"{layer}.conv.{part}" for part in conv} | {f"{layer}.bias"}
    names |= {f"convs.{i}.conv.blur.kernel" for i in range(0, 14, 2)}
    names |= {f"to_rgbs.{i}.upsample.kernel" for i in range(7)}
    assert set(state) == names
    assert state["to_rgbs.6.conv.weight"].shape == (1, 3, 64, 1, 1)
    assert state["noises.noise_14"].shape == (1, 1, 512, 512)


@torch.no_grad()
def test_is_deterministic_and_noise_modes_differ() -> None:
    net = shaken()
    z = torch.randn(2, 24)
    assert torch.equal(net(z), net(z))
    w_plus = net.broadcast(net.mapping(z))
    assert not torch.equal(net.synthesis(w_plus, "random"), net.synthesis(w_plus, "random"))
    assert not torch.equal(net.synthesis(w_plus, "none"), net.synthesis(w_plus, "const"))


@torch.no_grad()
def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    net = shaken()
    z = torch.randn(5, 24)
    torch.testing.assert_close(net(z)[3:4], net(z[3:4]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_truncation() -> None:
    net = shaken()
    w_plus = net.broadcast(net.mapping(torch.randn(2, 24)))
    torch.testing.assert_close(net.truncate(w_plus, 1.0), w_plus)
    assert torch.equal(net.truncate(w_plus, 0.0), net.latent_avg.expand_as(w_plus))
    half = net.truncate(w_plus, 0.5, cutoff=3)
    torch.testing.assert_close(half[:, :3], (net.latent_avg + w_plus[:, :3]) / 2)
    assert torch.equal(half[:, 3:], w_plus[:, 3:])


@torch.no_grad()
def test_mean_latent_is_the_mean() -> None:
    net = shaken()
    mean = net.mean_latent(5000, torch.Generator().manual_seed(1))
    z = torch.randn(5000, 24, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mean, net.mapping(z).mean(dim=0), atol=1e-5, rtol=1e-4)


def test_levels_stop_at_the_size_asked_for() -> None:
    net = shaken()
    levels = net.pyramid(net.broadcast(net.mapping(torch.randn(2, 24))), size=8)
    assert [tuple(rgb.shape) for _, rgb in levels] == [(2, 3, 4, 4), (2, 3, 8, 8)]


@torch.no_grad()
def test_known_features_go_on_to_the_same_picture() -> None:
    net = shaken()
    w_plus = net.broadcast(net.mapping(torch.randn(1, 24))).repeat(3, 1, 1)
    w_plus[:, 3:] = net.mapping(torch.randn(3, 24))[:, None]
    known = list(islice(net.features(w_plus[:1]), 3))

    torch.testing.assert_close(net.synthesis(w_plus, known=known), net.synthesis(w_plus))
    every = list(net.features(w_plus))
    assert torch.equal(net.synthesis(w_plus, known=every), net.synthesis(w_plus))


def test_widths_from_json_have_string_keys() -> None:
    net = Generator(8, 16, 1, channels={"4": 8, "8": 4})
    assert net.state_dict()["convs.0.conv.weight"].shape == (1, 4, 8, 3, 3)


@pytest.mark.parametrize("size", [4, 48, 2048])
def test_refuses_a_size_it_cannot_have(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Generator(size, 8, 1)


def test_names_the_width_that_is_missing() -> None:
    with pytest.raises(ValueError, match="16"):
        Generator(16, 8, 1, channels={4: 8, 8: 8})
