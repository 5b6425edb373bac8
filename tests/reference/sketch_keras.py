"""lllyasviel's sketchKeras, written out in float64 on the weights as Keras keeps them, and its files. Nothing
of the network that the project serves is used here.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Array = np.ndarray[Any, np.dtype[np.float32]]
# Parts of every layer with weights, by Keras' names, in the order of the layers.
Layers = list[dict[str, Array]]

PUBLISHED = (32, 64, 128, 256, 512)
NARROW = (3, 4, 5, 6, 7)


def convolutions(channels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Kernel, input and output channels of all 18."""
    c1, c2, c3, c4, c5 = channels
    down = [
        (3, 1, c1),
        (4, c1, c2),
        (3, c2, c2),
        (4, c2, c3),
        (3, c3, c3),
        (4, c3, c4),
        (3, c4, c4),
    ]
    down += [(4, c4, c5), (3, c5, c5)]
    up = [
        pair
        for inputs, outputs in ((c5, c4), (c4, c3), (c3, c2), (c2, c1))
        for pair in ((4, 2 * inputs, inputs), (3, inputs, outputs))
    ]
    return [*down, *up, (3, 2 * c1, 1)]


def random_layers(channels: Sequence[int] = NARROW, seed: int = 0) -> Layers:
    """A network in which every number counts: a convolution and its batch norm by turns, and the last one."""
    random = np.random.RandomState(seed)
    layers: Layers = []
    for kernel, inputs, outputs in convolutions(channels):
        scale = math.sqrt(2 / (kernel * kernel * inputs))
        layers.append(
            {
                "kernel": random.randn(kernel, kernel, inputs, outputs) * scale,
                "bias": 0.2 * random.randn(outputs),
            }
        )
        layers.append(
            {
                "gamma": 1 + 0.2 * random.randn(outputs),
                "beta": 0.3 * random.randn(outputs),
                "moving_mean": 0.3 * random.randn(outputs),
                "moving_variance": 0.5 + random.rand(outputs),
            }
        )
    return [
        {name: part.astype(np.float32) for name, part in layer.items()} for layer in layers[:-1]
    ]


def lines(layers: Layers, detail: Tensor) -> Tensor:
    """Detail of one colour [H, W] -> lines [H, W]."""
    waiting = iter(layers)

    def conv(x: Tensor, margins: Sequence[int], stride: int = 1) -> Tensor:
        parts = {name: torch.from_numpy(part).double() for name, part in next(waiting).items()}
        # Height, width, inputs, outputs; edges are mirrored, without the outermost row.
        weight = torch.einsum("hwio->oihw", parts["kernel"])
        x = F.conv2d(F.pad(x, list(margins), mode="reflect"), weight, stride=stride)
        return x + parts["bias"][:, None, None]

    def active(x: Tensor) -> Tensor:
        parts = {n: torch.from_numpy(p).double()[:, None, None] for n, p in next(waiting).items()}
        x = (x - parts["moving_mean"]) / torch.sqrt(parts["moving_variance"] + 0.001)
        return (x * parts["gamma"] + parts["beta"]).relu()

    def down(x: Tensor) -> Tensor:
        return active(conv(x, (1, 1, 1, 1), 2))

    def level(x: Tensor) -> Tensor:
        return active(conv(x, (1, 1, 1, 1)))

    def up(below: Tensor, beside: Tensor) -> Tensor:
        x = torch.cat([beside, below], 1)
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return level(active(conv(x, (1, 2, 1, 2))))

    d1 = level(detail[None, None].double())
    d2 = level(down(d1))
    d3 = level(down(d2))
    d4 = level(down(d3))
    d5 = down(d4)
    x = up(level(d5), d5)
    for beside in (d4, d3, d2):
        x = up(x, beside)
    return conv(torch.cat([d1, x], 1), (1, 1, 1, 1))[0, 0]


def opencv_taps(sigma: float, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """OpenCV's Gaussian in fixed point, [length] of 256ths: what rounding took from a tap goes to the next
    one, and the middle takes what is left to 256."""
    exact = np.exp(-((np.arange(length) - length // 2) ** 2) / (2 * sigma**2))
    exact *= 256 / exact.sum()
    whole, lost = np.zeros(length, int), 0.0
    for i in range(length // 2):
        whole[i] = whole[-1 - i] = np.rint(exact[i] + lost)
        lost += exact[i] - whole[i]
    whole[length // 2] = 256 - whole.sum()
    return whole


def detail(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Picture [H, W, 3] whose longer side is 512 -> what its blur lacks, [3, 512, 512]."""
    taps = opencv_taps(3, 19)
    colours = picture.transpose(2, 0, 1).astype(int)
    blurred = colours
    for axis in (1, 2):
        margins = [(9, 9) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(blurred, margins, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 19, axis=axis)
        blurred = windows @ taps
    difference = (colours - (blurred + 2**15 >> 16)) / 128
    difference /= difference.max()
    whole = np.zeros((3, 512, 512))
    whole[:, : picture.shape[0], : picture.shape[1]] = difference
    return torch.from_numpy(whole)


def drawing(found: Tensor, height: int, width: int, threshold: float) -> Tensor:
    """Lines of three colours [3, 512, 512] -> what upstream draws, [height, width], 1 is paper."""
    strongest = np.amax(found.numpy()[:, :height, :width], 0)
    strongest[strongest < threshold] = 0
    return torch.from_numpy(np.clip(1 - strongest, 0, 1))


# Files


def write_keras(layers: Layers, path: Path, weights_only: bool = False, old: bool = True) -> Path:
    """What Keras 2 saves: a model with its configuration, or the weights alone.

    Args:
        layers: The network.
        path: The file.
        weights_only: As `save_weights` does.
        old: With lists of words as the h5py of that time stored them, not today's.
    """

    def words(values: list[str]) -> Any:
        encoded = [value.encode() for value in values]
        return np.array(encoded) if old and values else encoded

    names = {True: "conv2d", False: "batch_normalization"}
    counts = {True: 0, False: 0}
    with h5py.File(path, "w") as file:
        if not weights_only:
            file.attrs["keras_version"] = b"2.0.4"
            file.attrs["model_config"] = b'{"class_name": "Model", "config": {"layers": []}}' * 99
            file.create_group("optimizer_weights").attrs["weight_names"] = [b"Adam/iterations:0"]
        group = file if weights_only else file.create_group("model_weights")
        order = ["input_1"]
        group.create_group("input_1").attrs["weight_names"] = []
        for parts in layers:
            convolves = "kernel" in parts
            counts[convolves] += 1
            order += [f"lambda_{len(order)}", f"{names[convolves]}_{counts[convolves]}"]
            group.create_group(order[-2]).attrs["weight_names"] = []
            layer = group.create_group(order[-1])
            stored = {f"{order[-1]}/{part}:0": array for part, array in parts.items()}
            layer.attrs["weight_names"] = words([*stored])
            for name, array in stored.items():
                # Keras makes the array first, and fills it then.
                layer.create_dataset(name, array.shape, dtype=array.dtype)[:] = array
        group.attrs["layer_names"] = words(order)
        group.attrs["backend"] = b"tensorflow"
    return path


def port_state(layers: Layers) -> dict[str, Tensor]:
    """The state dict of higumax/sketchKeras-pytorch."""
    places = [("downblock_1", 1), ("downblock_2", 1), ("downblock_2", 5), ("downblock_3", 1)]
    places += [("downblock_3", 5), ("downblock_4", 1), ("downblock_4", 5), ("downblock_5", 1)]
    places += [("downblock_6", 1)]
    places += [(f"upblock_{i}", place) for i in (1, 2, 3, 4) for place in (2, 6)]
    state: dict[str, Tensor] = {}
    parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
    parts |= {"moving_variance": "running_var", "bias": "bias"}
    names = [f"{block}.{place + i}" for block, place in places for i in (0, 1)]
    for name, layer in zip([*names, "last_conv"], layers, strict=True):
        for part, array in layer.items():
            if part == "kernel":
                state[f"{name}.weight"] = torch.from_numpy(array.transpose(3, 2, 0, 1).copy())
            else:
                state[f"{name}.{parts[part]}"] = torch.from_numpy(array.copy())
        if "gamma" in layer:
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state
