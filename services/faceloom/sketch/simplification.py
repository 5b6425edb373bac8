"""Released networks of bobbens/sketch_simplification: Torch7's files, and what others converted them to."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.sketch.extractors import SIMPLIFICATION
from faceloom.sketch.network import LAYERS, MODEL_GAN_MEAN, MODEL_GAN_STD, SketchSimplification
from faceloom.sketch.torch7 import Module, Stored, read_torch7
from faceloom.store.imported import Answers, Imported, check_state
from faceloom.store.licences import WASEDA
from faceloom.store.state_dict import state_dict, weights
from faceloom.store.untrusted import Refusal, read_torch, refusing

_CONVOLUTIONS = ("nn.SpatialConvolution", "nn.SpatialConvolutionMM", "cudnn.SpatialConvolution")
_TRANSPOSED = ("nn.SpatialFullConvolution", "cudnn.SpatialFullConvolution")
_PARTS = ("weight", "bias")
_PTH_NOTE = (
    "The file does not hold the mean and the deviation of its input; these are model_gan's. model_mse and the"
    " pencil models have others, which only their .t7 files hold."
)


def read_t7(path: Path, answers: Answers) -> Imported:
    """A released `.t7`, such as `model_gan.t7`: a table of model, mean and std.

    Raises:
        RefusedFile: The file is no such table, or its model is not of the released shape.
    """
    saved = read_torch7(path)
    with refusing(path):
        if not isinstance(saved, dict) or not isinstance(saved.get("model"), Module):
            raise Refusal("is no table that holds a model")
        mean, std = (_statistic(saved, name) for name in ("mean", "std"))
        state = _layers(saved["model"])
    names = {
        f"{2 * i}.{part}": f"the {part} of module {2 * i + 1}"
        for i in range(len(LAYERS))
        for part in _PARTS
    }
    return _imported(path, state, names, mean, std)


def read_pth(path: Path, answers: Answers) -> Imported:
    """A conversion to PyTorch: the same tensors under names that differ in their numbers only, in whose order
    the layers are, such as `0.weight`, `layer1.0.weight` or `layers.0.weight`.

    Raises:
        RefusedFile: The file is no such state dict, or not of the released shape.
    """
    saved = read_torch(path)
    with refusing(path):
        theirs = state_dict(saved, ["state_dict"])
        layers = sorted({name.rpartition(".")[0] for name in theirs}, key=_numbers)
        kinds = {re.sub(r"\d+", "#", layer) for layer in layers}
        if len(kinds) > 1:
            raise Refusal(f"has layers of different names: {', '.join(sorted(kinds))}")
    names = {
        f"{2 * i}.{part}": f"{layer}.{part}" for i, layer in enumerate(layers) for part in _PARTS
    }
    state = {ours: theirs[name] for ours, name in names.items() if name in theirs}
    extra = {name: theirs[name] for name in theirs.keys() - names.values()}
    return _imported(path, state | extra, names, MODEL_GAN_MEAN, MODEL_GAN_STD, _PTH_NOTE)


def _imported(
    path: Path,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    mean: float,
    std: float,
    *notes: str,
) -> Imported:
    """The model in a state of our names; `names` says what the file calls them."""
    with refusing(path):
        channels = _channels(state)
        with torch.device("meta"):
            check_state(SketchSimplification(channels=channels), state, path, names)
    options = {"extractor": SIMPLIFICATION, "mean": mean, "std": std}
    return Imported(
        network={"channels": channels},
        # Upstream leaves the contrast of drawings as it is.
        options={**options, "black": 0.0, "white": 1.0},
        weights=weights(state),
        licence=WASEDA,
        notes=notes,
    )


def _channels(state: Mapping[str, Tensor]) -> list[int]:
    """Of the hidden layers."""
    counts = []
    for i, (kind, _, _) in enumerate(LAYERS):
        weight = state.get(f"{2 * i}.weight")
        if weight is None or weight.dim() != 4:
            raise Refusal(f"has no convolution as layer {i + 1} of {len(LAYERS)}")
        counts.append(weight.shape[1 if kind == "up" else 0])
    return counts[:-1]


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", name)]


def _statistic(saved: Mapping[Any, Any], name: str) -> float:
    value: Any = saved.get(name)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Refusal(f"has {value!r} as the {name} of its input")
    if name == "std" and value <= 0:
        raise Refusal(f"has {value} as the std of its input")
    return float(value)


def _layers(model: Module) -> dict[str, Tensor]:
    """The weights of the convolutions, by our names, if every module is what the released networks have.

    Raises:
        Refusal: One is not.
    """
    modules = model.fields.get("modules")
    if model.kind != "nn.Sequential" or not isinstance(modules, dict):
        raise Refusal(f"has a {model.kind} as its model, not an nn.Sequential")
    if len(modules) != 2 * len(LAYERS):
        raise Refusal(
            f"has {len(modules)} modules; the released networks, whose batch norms are folded, have"
            f" {2 * len(LAYERS)}"
        )
    state = {}
    for i, (kind, _, kernel) in enumerate(LAYERS):
        number, last = 2 * i + 1, i + 1 == len(LAYERS)
        active = "Sigmoid" if last else "ReLU"
        _module(modules, number + 1, (f"nn.{active}", f"cudnn.{active}"))
        convolution = _module(modules, number, _TRANSPOSED if kind == "up" else _CONVOLUTIONS)
        _check_geometry(number, convolution, kernel, 1 if kind == "same" else 2)
        for part in _PARTS:
            stored = convolution.fields.get(part)
            if not isinstance(stored, Stored):
                raise Refusal(f"has no {part} in module {number}")
            state[f"{2 * i}.{part}"] = stored.tensor()
        weight = state[f"{2 * i}.weight"]
        if weight.dim() == 2:
            # Some convolutions keep theirs as a matrix.
            state[f"{2 * i}.weight"] = weight.view(len(weight), -1, kernel, kernel)
    return state


def _module(modules: Mapping[Any, Any], number: int, kinds: Sequence[str]) -> Module:
    found = modules.get(number)
    if not isinstance(found, Module) or found.kind not in kinds:
        kind = found.kind if isinstance(found, Module) else type(found).__name__
        raise Refusal(f"has a {kind} as module {number}; the released networks have {kinds[0]}")
    return found


def _check_geometry(number: int, convolution: Module, kernel: int, stride: int) -> None:
    wanted = {"k": kernel, "d": stride, "pad": (kernel - 1) // 2, "adj": 0}
    for field, value in wanted.items():
        for name in (f"{field}W", f"{field}H"):
            # Only transposed convolutions, and not the oldest, have `adj`.
            found = convolution.fields.get(name, 0 if field == "adj" else None)
            if found != value:
                raise Refusal(f"has {found!r} as {name} of module {number}, not {value}")
