"""The released Sketch Simplification networks, written out in float64, and their files. Nothing of the
network that the project serves is used here.

Papers: Simo-Serra et al., "Learning to Simplify" (2016) and "Mastering Sketching" (2018). The shape is that
of `model_gan`: convolutions with ReLU, a sigmoid at the end, no batch norms.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MEAN, STD = 0.97, 0.09
# Of batch norms.
EPS = 1e-5
# Kernel, and what happens to the side: halved (-1), kept, doubled (+1).
SHAPE = (
    [(5, -1), (3, 0), (3, 0), (3, -1), (3, 0), (3, 0), (3, -1)]
    + [(3, 0)] * 7
    + [(4, 1), (3, 0), (3, 0)] * 2
    + [(4, 1), (3, 0), (3, 0)]
)
PUBLISHED = (48, 128, 128, 128, 256, 256, 256, 512, 1024, 1024, 1024, 1024, 512, 256, 256, 256, 128,
             128, 128, 48, 48, 24)  # fmt: skip
NARROW = (3, 5, 6, 7, 8, 9, 10, 11, 13, 12, 14, 13, 11, 9, 8, 7, 6, 7, 5, 4, 3, 2)


@dataclass
class Layer:
    """One convolution. weight [O, I, k, k] is laid over the picture as it is; bias [O].

    norm: mean, variance, weight and bias of the batch norm behind it, where it is not folded.
    """

    weight: Tensor
    bias: Tensor
    scale: int
    norm: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def stored_weight(self) -> Tensor:
        """As Torch and PyTorch keep it: a transposed convolution's is turned, and its channels swapped."""
        return self.weight.flip(2, 3).transpose(0, 1) if self.scale > 0 else self.weight


def random_layers(channels: Sequence[int] = NARROW, seed: int = 0) -> list[Layer]:
    """A network in which every number counts."""
    random = torch.Generator().manual_seed(seed)
    layers, inputs = [], 1
    for (kernel, scale), outputs in zip(SHAPE, [*channels, 1], strict=True):
        # Of the sixteen values of a doubling kernel, four fall onto one pixel of the input.
        fan_in = inputs * (4 if scale > 0 else kernel * kernel)
        weight = (
            torch.randn(outputs, inputs, kernel, kernel, generator=random) * (2 / fan_in) ** 0.5
        )
        layers.append(Layer(weight, 0.2 * torch.randn(outputs, generator=random), scale))
        inputs = outputs
    return layers


def with_norms(layers: Sequence[Layer], seed: int = 1) -> list[Layer]:
    """The same network as `train.lua` builds it: behind all but the last convolution is a batch norm."""
    random = torch.Generator().manual_seed(seed)
    normed = []
    for layer in layers[:-1]:
        count = len(layer.bias)
        mean, shift = (0.3 * torch.randn(count, generator=random) for _ in range(2))
        variance, weight = (0.5 + torch.rand(count, generator=random) for _ in range(2))
        normed.append(replace(layer, norm=(mean, variance, weight, shift)))
    return [*normed, layers[-1]]


def drawing(layers: Sequence[Layer], image: Tensor) -> Tensor:
    """Normalised picture [H, W] -> drawing [H, W]."""
    x = image[None, None].double()
    for layer in layers:
        if layer.scale > 0:
            # Zeros between the pixels, and around them as many as the kernel reaches beyond.
            grid = torch.zeros(1, x.shape[1], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype)
            grid[:, :, ::2, ::2] = x
            x = F.pad(grid, (2, 1, 2, 1))
        else:
            x = F.pad(x, [layer.weight.shape[-1] // 2] * 4)
        x = F.conv2d(x, layer.weight.double(), stride=2 if layer.scale < 0 else 1)
        x = x + layer.bias.double()[:, None, None]
        if layer.norm:
            mean, variance, weight, bias = (each.double()[:, None, None] for each in layer.norm)
            x = (x - mean) / torch.sqrt(variance + EPS) * weight + bias
        x = x.sigmoid() if layer is layers[-1] else x.relu()
    return x[0, 0]


# Conversions to PyTorch


def flat(layers: Sequence[Layer]) -> dict[str, Tensor]:
    """One nn.Sequential, in which every other module has no weights."""
    return {
        f"{2 * i}.{part}": tensor.clone()
        for i, layer in enumerate(layers)
        for part, tensor in (("weight", layer.stored_weight()), ("bias", layer.bias))
    }


def nested(layers: Sequence[Layer]) -> dict[str, Tensor]:
    """aidreamwin's: seven nn.Sequential one after the other."""
    places = [
        f"layer{n + 1}.{2 * i}" for n, size in enumerate((4, 3, 5, 4, 3, 2, 2)) for i in range(size)
    ]
    tensors = iter(flat(layers).values())
    return {f"{place}.{part}": next(tensors) for place in places for part in ("weight", "bias")}


def listed(layers: Sequence[Layer]) -> dict[str, Tensor]:
    """An nn.ModuleList of the convolutions."""
    names = {f"{2 * i}": f"layers.{i}" for i in range(len(layers))}
    return {
        f"{names[name.partition('.')[0]]}.{name.partition('.')[2]}": tensor
        for name, tensor in flat(layers).items()
    }


# Torch7


@dataclass(eq=False)
class LuaTensor:
    """A tensor of that class, a part of a storage."""

    kind: str
    storage: "LuaStorage"
    size: tuple[int, ...]
    offset: int = 0
    stride: tuple[int, ...] | None = None


@dataclass(eq=False)
class LuaStorage:
    """Numbers in a row."""

    kind: str
    numbers: np.ndarray[Any, Any]


@dataclass(eq=False)
class LuaObject:
    """An object of a class that is saved as the table of its fields."""

    kind: str
    fields: dict[Any, Any]


class Torch7Writer:
    """Lua's torch.save in its binary format. long: how struct writes the machine's longs."""

    def __init__(self, versioned: bool = True, long: str = "q") -> None:
        self.written = bytearray()
        self._long = long
        self._numbers: dict[int, int] = {}
        self._versioned = versioned

    def write(self, thing: Any) -> None:
        if thing is None:
            self.raw("<i", 0)
        elif isinstance(thing, bool):
            self.raw("<2i", 5, thing)
        elif isinstance(thing, int | float):
            self.raw("<id", 1, thing)
        elif isinstance(thing, str):
            self.raw("<i", 2)
            self.string(thing)
        elif id(thing) in self._numbers:
            self.raw("<2i", _kind(thing), self._numbers[id(thing)])
        else:
            self._numbers[id(thing)] = len(self._numbers) + 1
            self.raw("<2i", _kind(thing), self._numbers[id(thing)])
            self._new(thing)

    def _new(self, thing: Any) -> None:
        if isinstance(thing, dict):
            self.raw("<i", len(thing))
            for key, value in thing.items():
                self.write(key)
                self.write(value)
            return
        if self._versioned:
            self.string("V 1")
        self.string(thing.kind)
        if isinstance(thing, LuaStorage):
            self.raw(f"<{self._long}", len(thing.numbers))
            self.written += thing.numbers.tobytes()
        elif isinstance(thing, LuaTensor):
            steps = [math.prod(thing.size[i + 1 :]) for i in range(len(thing.size))]
            numbers = (*thing.size, *(thing.stride or steps), thing.offset + 1)
            self.raw(f"<i{len(numbers)}{self._long}", len(thing.size), *numbers)
            self.write(thing.storage if thing.size else None)
        else:
            self.write(thing.fields)

    def string(self, value: str) -> None:
        self.raw("<i", len(value.encode()))
        self.written += value.encode()

    def raw(self, form: str, *values: Any) -> None:
        self.written += struct.pack(form, *values)


def _kind(thing: Any) -> int:
    return 3 if isinstance(thing, dict) else 4


def torch7_table(layers: Sequence[Layer], device: str = "", shared: bool = True) -> dict[str, Any]:
    """What bobbens' trainer saves: {model, mean, std, opt}.

    Args:
        layers: The network.
        device: "Cuda" for tensors that were on a GPU.
        shared: Whether all weights lie in one storage, as they do after training.
    """
    code = device or "Float"
    everything = torch.cat([part.flatten() for part in flat(layers).values()]).numpy()
    storage = LuaStorage(f"torch.{code}Storage", everything)
    modules: dict[int, LuaObject] = {}
    offset = 0
    for layer in layers:
        fields: dict[str, Any] = {"train": False, "_type": f"torch.{code}Tensor"}
        for name, tensor in (("weight", layer.stored_weight()), ("bias", layer.bias)):
            own = LuaStorage(f"torch.{code}Storage", tensor.contiguous().numpy().ravel())
            where = (storage, offset) if shared else (own, 0)
            fields[name] = LuaTensor(f"torch.{code}Tensor", where[0], tuple(tensor.shape), where[1])
            # What clearState leaves of the gradients.
            fields[f"grad{name.title()}"] = LuaTensor(f"torch.{code}Tensor", own, ())
            offset += tensor.numel()
        kernel = layer.weight.shape[-1]
        outputs, inputs = layer.weight.shape[:2]
        fields |= dict(nInputPlane=inputs, nOutputPlane=outputs)
        fields |= dict.fromkeys(("kW", "kH"), kernel) | dict.fromkeys(
            ("dW", "dH"), 1 + (layer.scale != 0)
        )
        fields |= dict.fromkeys(("padW", "padH"), (kernel - 1) // 2)
        kind = "SpatialFullConvolution" if layer.scale > 0 else "SpatialConvolution"
        if layer.scale > 0:
            fields |= dict(adjW=0, adjH=0)
        modules[len(modules) + 1] = LuaObject(f"{'cudnn' if device else 'nn'}.{kind}", fields)
        if layer.norm:
            norm = _torch7_norm(layer.norm, code)
            modules[len(modules) + 1] = LuaObject("nn.SpatialBatchNormalization", norm)
        active = "Sigmoid" if layer is layers[-1] else "ReLU"
        modules[len(modules) + 1] = LuaObject(f"nn.{active}", {"inplace": True, "train": False})
    model = LuaObject(
        "nn.Sequential", {"modules": modules, "train": False, "_type": "torch.FloatTensor"}
    )
    opt = {"batchsize": 8, "mse": False, "trainfiles": "train.csv", "load": "none"}
    return {"model": model, "mean": MEAN, "std": STD, "opt": opt}


def _torch7_norm(norm: Sequence[Tensor], code: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"affine": True, "eps": EPS, "momentum": 0.1, "train": False}
    for name, tensor in zip(("running_mean", "running_var", "weight", "bias"), norm, strict=True):
        own = LuaStorage(f"torch.{code}Storage", tensor.numpy())
        fields[name] = LuaTensor(f"torch.{code}Tensor", own, tuple(tensor.shape))
    return fields


def write_torch7(content: Any, path: Path, versioned: bool = True, long: str = "q") -> Path:
    """A file that holds one thing."""
    writer = Torch7Writer(versioned, long)
    writer.write(content)
    path.write_bytes(writer.written)
    return path
