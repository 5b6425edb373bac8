"""pixel2style2pixel as its paper and official code define it, written out: one picture at a time, in float64.
Nothing of the network that the project serves is used here.

Papers: Richardson et al., "Encoding in Style: a StyleGAN Encoder for Image-to-Image Translation" (2021);
its residual blocks are those of Deng et al., "ArcFace" (2019), with Hu et al., "Squeeze-and-Excitation
Networks" (2018).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.reference.stylegan2 import StyleGAN2, constant_noise, synthesis
from tests.reference.stylegan2_files import rosinality_state


@dataclass
class Encoder:
    """All numbers of a GradualStyleEncoder, by the names of eladrich/pixel2style2pixel.

    blocks: residual blocks of each of the four units, which halve the picture each.
    """

    state: dict[str, Tensor]
    blocks: Sequence[int]
    styles: int

    def __getitem__(self, name: str) -> Tensor:
        return self.state[name].double()


@dataclass
class PSp:
    """An encoder and its decoder.

    start: what is added to the codes, [styles, D], if anything is. editing: whether the encoder is that of
    Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (2021): one style, and offsets from it.
    """

    encoder: Encoder
    decoder: StyleGAN2
    start: Tensor | None
    options: dict[str, Any] = field(default_factory=dict)
    editing: bool = False


def random_encoder(
    channels: int,
    styles: int,
    style_dim: int,
    side: int = 64,
    blocks: Sequence[int] = (1, 2, 3, 1),
    widths: Sequence[int] = (6, 8, 10, 12),
    seed: int = 0,
) -> Encoder:
    """An encoder in which every number counts, for pictures [channels, side, side]."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, here: int, below: int, kernel: int, bias: bool = False) -> None:
        gain = math.sqrt(2 / (below * kernel**2))
        state[f"{name}.weight"] = gain * torch.randn(here, below, kernel, kernel, generator=random)
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(here, generator=random)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 0.5 + 0.5 * torch.rand(width, generator=random)
        state[f"{name}.bias"] = 0.3 * torch.randn(width, generator=random)
        state[f"{name}.running_mean"] = 0.3 * torch.randn(width, generator=random)
        state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=random)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    def slopes(name: str, width: int) -> None:
        state[f"{name}.weight"] = 0.5 * torch.rand(width, generator=random)

    conv("input_layer.0", widths[0], channels, 3)
    norm("input_layer.1", widths[0])
    slopes("input_layer.2", widths[0])
    below, index = widths[0], 0
    for count, width in zip(blocks, widths, strict=True):
        for _ in range(count):
            name = f"body.{index}"
            if below != width:
                conv(f"{name}.shortcut_layer.0", width, below, 1)
                norm(f"{name}.shortcut_layer.1", width)
            norm(f"{name}.res_layer.0", below)
            conv(f"{name}.res_layer.1", width, below, 3)
            slopes(f"{name}.res_layer.2", width)
            conv(f"{name}.res_layer.3", width, width, 3)
            norm(f"{name}.res_layer.4", width)
            hidden = max(1, width // 16)
            conv(f"{name}.res_layer.5.fc1", hidden, width, 1)
            conv(f"{name}.res_layer.5.fc2", width, hidden, 1)
            below, index = width, index + 1
    for i in range(styles):
        halvings = int(math.log2(side)) - (4 if i < 3 else 3 if i < 7 else 2)
        for k in range(halvings):
            conv(f"styles.{i}.convs.{2 * k}", style_dim, style_dim if k else widths[3], 3, True)
        weight = torch.randn(style_dim, style_dim, generator=random)
        state[f"styles.{i}.linear.weight"] = weight
        state[f"styles.{i}.linear.bias"] = 0.3 * torch.randn(style_dim, generator=random)
    conv("latlayer1", widths[3], widths[2], 1, True)
    conv("latlayer2", widths[3], widths[1], 1, True)
    return Encoder(state, blocks, styles)


def normalised(net: Encoder, name: str, x: Tensor) -> Tensor:
    """Batch normalisation with the statistics of training: [C, H, W]."""
    mean, variance, weight, bias = (
        net[f"{name}.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def rectified(net: Encoder, name: str, x: Tensor) -> Tensor:
    """A slope of its own for the negative side of every channel."""
    return torch.where(x > 0, x, x * net[f"{name}.weight"][:, None, None])


def convolved(net: Encoder, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """[I, H, W] -> [O, H / stride, W / stride]."""
    weight = net[f"{name}.weight"]
    bias = net[f"{name}.bias"] if f"{name}.bias" in net.state else None
    return F.conv2d(x[None], weight, bias, stride, weight.shape[-1] // 2)[0]


def residual(net: Encoder, name: str, x: Tensor, stride: int) -> Tensor:
    """A bottleneck_IR_SE: improved residual block with squeeze and excitation."""
    shortcut = x[:, ::stride, ::stride]
    if f"{name}.shortcut_layer.0.weight" in net.state:
        shortcut = convolved(net, f"{name}.shortcut_layer.0", x, stride)
        shortcut = normalised(net, f"{name}.shortcut_layer.1", shortcut)
    x = convolved(net, f"{name}.res_layer.1", normalised(net, f"{name}.res_layer.0", x))
    x = convolved(net, f"{name}.res_layer.3", rectified(net, f"{name}.res_layer.2", x), stride)
    x = normalised(net, f"{name}.res_layer.4", x)
    means = x.mean((1, 2))[:, None, None]
    gate = convolved(net, f"{name}.res_layer.5.fc1", means).clamp(min=0)
    return x / (1 + torch.exp(-convolved(net, f"{name}.res_layer.5.fc2", gate))) + shortcut


def enlarged(x: Tensor, side: int) -> Tensor:
    """[C, h, h] -> [C, side, side], linear between pixels whose corners stay corners."""
    places = torch.arange(side, dtype=x.dtype) * (x.shape[-1] - 1) / (side - 1)
    near = (1 - (places[:, None] - torch.arange(x.shape[-1])).abs()).clamp(min=0)
    return torch.einsum("ih,chw,jw->cij", near, x, near)


def style(net: Encoder, index: int, x: Tensor) -> Tensor:
    """map2style: [C, s, s] -> [D]."""
    name, layer = f"styles.{index}", 0
    while x.shape[-1] > 1:
        x = convolved(net, f"{name}.convs.{layer}", x, 2)
        x, layer = torch.where(x > 0, x, 0.01 * x), layer + 2
    weight = net[f"{name}.linear.weight"]
    return weight @ x[:, 0, 0] / math.sqrt(weight.shape[1]) + net[f"{name}.linear.bias"]


def encoded(net: Encoder, picture: Tensor) -> Tensor:
    """[C, side, side] -> codes [styles, D], to which nothing is added yet."""
    x = convolved(net, "input_layer.0", picture.double())
    x = rectified(net, "input_layer.2", normalised(net, "input_layer.1", x))
    maps, index = [], 0
    for count in net.blocks:
        for k in range(count):
            x = residual(net, f"body.{index}", x, 1 if k else 2)
            index += 1
        maps.append(x)
    _, fine, middle, coarse = maps
    middle = enlarged(coarse, middle.shape[-1]) + convolved(net, "latlayer1", middle)
    fine = enlarged(middle, fine.shape[-1]) + convolved(net, "latlayer2", fine)
    seen = [coarse] * 3 + [middle] * 4 + [fine] * max(0, net.styles - 7)
    return torch.stack([style(net, i, seen[i]) for i in range(net.styles)])


def w_plus_of(net: PSp, picture: Tensor) -> Tensor:
    """[C, side, side] -> w+ [styles, D]."""
    codes = encoded(net.encoder, picture)
    if net.editing:
        offsets, codes = codes[1:], codes[0].repeat(net.encoder.styles, 1)
        for layer, offset in enumerate(offsets, 1):
            codes[layer] += offset
    return codes if net.start is None else codes + net.start.double()


def face_of(net: PSp, w_plus: Tensor) -> Tensor:
    """w+ [styles, D] -> [3, S, S], with the noise that is stored."""
    return synthesis(net.decoder, w_plus, constant_noise(net.decoder))


# What upstream's trainer calls the data of its tasks, by the channels of their pictures.
DATASETS = {1: "celebs_sketch_to_face", 19: "celebs_seg_to_face", 3: "ffhq_encode"}


def checkpoint(net: PSp) -> dict[str, Any]:
    """What the trainer saves, with a mean latent for every style."""
    encoder = {f"encoder.{name}": value.clone() for name, value in net.encoder.state.items()}
    decoder = {f"decoder.{name}": value for name, value in rosinality_state(net.decoder).items()}
    channels = net.encoder.state["input_layer.0.weight"].shape[1]
    options = {
        "batch_size": 8,
        "checkpoint_path": None,
        "dataset_type": DATASETS[channels],
        "device": "cuda:0",
        "encoder_type": "GradualStyleEncoder",
        "input_nc": channels,
        "learn_in_w": False,
        "learning_rate": 0.0001,
        "n_styles": net.encoder.styles,
        "optim_name": "ranger",
        "output_size": net.decoder.size,
        "start_from_latent_avg": net.start is not None,
    }
    if net.editing:
        for name in ("dataset_type", "input_nc", "learn_in_w", "n_styles", "output_size"):
            del options[name]
        options |= {"encoder_type": "Encoder4Editing", "stylegan_size": net.decoder.size}
    saved: dict[str, Any] = {"state_dict": encoder | decoder, "opts": options | net.options}
    return saved if net.start is None else saved | {"latent_avg": net.start.clone()}
