"""MixNet-S as its paper and timm define it, written out in float64 on the state dict itself. Nothing of the
network that the project serves is used here.

Paper: Tan & Le, "MixConv: Mixed Depthwise Convolutional Kernels" (2019). The variant `tf_mixnet_s` pads edges
as TensorFlow does, and has its epsilon of batch norms.
"""

import math
from argparse import Namespace
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
Shapes = Iterator[tuple[str, tuple[int, ...]]]


class Row(NamedTuple):
    """One block: depthwise kernels, stride, expansion, channels, parts of the 1x1 convolutions that expand
    and project, share of the input's channels that is squeezed to, and whether it has SiLU and not ReLU."""

    kernels: tuple[int, ...]
    stride: int
    expansion: int
    channels: int
    expanding: int = 1
    projecting: int = 1
    squeezed: float = 0
    silu: bool = True


TABLE: tuple[tuple[Row, ...], ...] = (
    (Row((3,), 1, 1, 16, silu=False),),
    (Row((3,), 2, 6, 24, 2, 2, silu=False), Row((3,), 1, 3, 24, 2, 2, silu=False)),
    (Row((3, 5, 7), 2, 6, 40, 1, 1, 0.5), *[Row((3, 5), 1, 6, 40, 2, 2, 0.5)] * 3),
    (Row((3, 5, 7), 2, 6, 80, 1, 2, 0.25), *[Row((3, 5), 1, 6, 80, 1, 2, 0.25)] * 2),
    (Row((3, 5, 7), 1, 6, 120, 2, 2, 0.5), *[Row((3, 5, 7, 9), 1, 3, 120, 2, 2, 0.5)] * 2),
    (Row((3, 5, 7, 9, 11), 2, 6, 200, 1, 1, 0.5), *[Row((3, 5, 7, 9), 1, 6, 200, 1, 2, 0.5)] * 2),
)


def parts(channels: int, count: int) -> list[int]:
    """Channels in equal parts, the first of which takes what is over."""
    rest = [channels // count] * (count - 1)
    return [channels - sum(rest), *rest]


def names(name: str, count: int) -> list[str]:
    """A layer in several parts is numbered, one in a single part is not."""
    return [name] if count == 1 else [f"{name}.{i}" for i in range(count)]


def blocks() -> Iterator[tuple[str, Row, int]]:
    """Name, row and input channels of every block."""
    channels = 16
    for stage, rows in enumerate(TABLE):
        for i, row in enumerate(rows):
            yield f"blocks.{stage}.{i}", row, channels
            channels = row.channels


def shapes(classes: int) -> Shapes:
    """Name and shape of every layer's weight; batch norms have one length."""
    yield "conv_stem", (16, 3, 3, 3)
    yield "bn1", (16,)
    for name, row, channels in blocks():
        middle = channels * row.expansion
        if row.expansion > 1:
            yield from pointwise(f"{name}.conv_pw", channels, middle, row.expanding)
            yield f"{name}.bn1", (middle,)
        kernels = len(row.kernels)
        for part, count, k in zip(
            names(f"{name}.conv_dw", kernels), parts(middle, kernels), row.kernels, strict=True
        ):
            yield part, (count, 1, k, k)
        yield f"{name}.{'bn2' if row.expansion > 1 else 'bn1'}", (middle,)
        if row.squeezed:
            squeezed = int(channels * row.squeezed)
            yield f"{name}.se.conv_reduce", (squeezed, middle, 1, 1)
            yield f"{name}.se.conv_expand", (middle, squeezed, 1, 1)
        last, norm = ("conv_pwl", "bn3") if row.expansion > 1 else ("conv_pw", "bn2")
        yield from pointwise(f"{name}.{last}", middle, row.channels, row.projecting)
        yield f"{name}.{norm}", (row.channels,)
    yield "conv_head", (1536, 200, 1, 1)
    yield "bn2", (1536,)
    yield "classifier", (classes, 1536)


def pointwise(name: str, before: int, after: int, count: int) -> Shapes:
    """A 1x1 convolution in parts that do not see each other."""
    for part, inputs, outputs in zip(
        names(name, count), parts(before, count), parts(after, count), strict=True
    ):
        yield part, (outputs, inputs, 1, 1)


def random_state(classes: int = 2, seed: int = 0) -> State:
    """timm's state dict of a network in which every number counts."""
    return {name: tensor.clone() for name, tensor in _random_state(classes, seed).items()}


@cache
def _random_state(classes: int, seed: int) -> State:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    state: State = {}
    for name, shape in shapes(classes):
        if len(shape) == 1:
            state[f"{name}.weight"] = 1 + 0.2 * normal(*shape)
            state[f"{name}.bias"] = 0.3 * normal(*shape)
            state[f"{name}.num_batches_tracked"] = torch.tensor(1234)
            continue
        state[f"{name}.weight"] = normal(*shape) * (2 / math.prod(shape[1:])) ** 0.5
        if ".se." in name or name == "classifier":
            state[f"{name}.bias"] = 0.3 * normal(shape[0])
    # As after training: else differences grow from layer to layer, those of rounding too.
    logits(state, normal(3, 160, 160), tf=False, settle=True)
    return state


def logits(
    state: State, image: Tensor, tf: bool, eps: float | None = None, settle: bool = False
) -> Tensor:
    """Normalised image [3, H, W] -> logits [classes].

    Args:
        state: timm's names and tensors.
        image: What is looked at.
        tf: Of tf_mixnet_s.
        eps: Of its batch norms, if it is not the variant's.
        settle: Sets the statistics of batch norms to those of this image.
    """
    eps = eps or (1e-3 if tf else 1e-5)

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"].double()
        groups = x.shape[1] // weight.shape[1]
        x = F.pad(x, edges(x, weight.shape[-1], stride, tf))
        return F.conv2d(x, weight, stride=stride, groups=groups)

    def mixed(name: str, x: Tensor, count: int, stride: int = 1) -> Tensor:
        pieces = torch.split(x, parts(x.shape[1], count), 1)
        layers = zip(names(name, count), pieces, strict=True)
        return torch.cat([conv(part, piece, stride) for part, piece in layers], 1)

    def norm(name: str, x: Tensor) -> Tensor:
        if settle:
            state[f"{name}.running_mean"] = x.mean((0, 2, 3)).float()
            state[f"{name}.running_var"] = x.var((0, 2, 3)).float()
        weight, bias, mean, variance = (
            state[f"{name}.{part}"].double()[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / torch.sqrt(variance + eps) * weight + bias

    def dense(name: str, x: Tensor) -> Tensor:
        weight, bias = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
        return weight.flatten(1) @ x + bias

    x = norm("bn1", conv("conv_stem", image[None].double(), 2)).relu()
    for name, row, channels in blocks():
        before, expands = x, row.expansion > 1
        if expands:
            x = active(row, norm(f"{name}.bn1", mixed(f"{name}.conv_pw", x, row.expanding)))
        x = mixed(f"{name}.conv_dw", x, len(row.kernels), row.stride)
        x = active(row, norm(f"{name}.{'bn2' if expands else 'bn1'}", x))
        if row.squeezed:
            squeezed = active(row, dense(f"{name}.se.conv_reduce", x[0].mean((1, 2))))
            x = x * dense(f"{name}.se.conv_expand", squeezed).sigmoid()[:, None, None]
        last, after = ("conv_pwl", "bn3") if expands else ("conv_pw", "bn2")
        x = norm(f"{name}.{after}", mixed(f"{name}.{last}", x, row.projecting))
        if row.stride == 1 and channels == row.channels:
            x = before + x
    x = norm("bn2", conv("conv_head", x)).relu()
    return dense("classifier", x[0].mean((1, 2)))


def active(row: Row, x: Tensor) -> Tensor:
    return x * x.sigmoid() if row.silu else x.relu()


def edges(x: Tensor, kernel: int, stride: int, tf: bool) -> list[int]:
    """Zeros left, right, above and below. PyTorch's are the same everywhere; TensorFlow adds what the last
    window lacks, and of an odd number the larger half at the end."""
    if not tf:
        return [kernel // 2] * 4
    result = []
    for length in (x.shape[3], x.shape[2]):
        windows = math.ceil(length / stride)
        lacking = max(0, (windows - 1) * stride + kernel - length)
        result += [lacking // 2, lacking - lacking // 2]
    return result


# Files


def trainer_arguments(**changed: Any) -> Namespace:
    """What timm's train.py was called with, as far as it matters."""
    given = {
        "model": "mixnet_s", "data_dir": "faces", "num_classes": 2, "gp": None, "img_size": None,
        "in_chans": None, "input_size": None, "crop_pct": None, "mean": None, "std": None,
        "interpolation": "", "batch_size": 128, "crop_mode": None, "bn_eps": None,
        "model_kwargs": {}, "hflip": 0.5, "scale": [0.08, 1.0], "model_ema": True,
    }  # fmt: skip
    return Namespace(**(given | changed))


def trained(state: State, **arguments: Any) -> dict[str, Any]:
    """What timm's train.py saves."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9)
    given = trainer_arguments(**arguments)
    return {
        "epoch": 12,
        "arch": given.model,
        "state_dict": {name: torch.zeros(2) for name in state},
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": given,
        "amp_scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "state_dict_ema": state,
        "metric": 91.25,
    }
