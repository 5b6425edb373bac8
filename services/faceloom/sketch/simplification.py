"""Networks of bobbens/sketch_simplification: Torch7's files, and what others converted them to.

Released networks have their batch norms folded into the convolutions; those of the project's own `train.lua`
have them still, and they are folded here.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported, check_state
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.torch7 import Module, Stored, read_torch7
from faceloom.checkpoints.untrusted import Refusal, read_checkpoint, refusing
from faceloom.sketch.extractors import SIMPLIFICATION
from faceloom.sketch.network import LAYERS, MODEL_GAN_MEAN, MODEL_GAN_STD, SketchSimplification
from faceloom.store.licences import WASEDA
from faceloom.store.model import PREPROCESSING

_CONVOLUTIONS = ("nn.SpatialConvolution", "nn.SpatialConvolutionMM", "cudnn.SpatialConvolution")
_TRANSPOSED = ("nn.SpatialFullConvolution", "cudnn.SpatialFullConvolution")
_NORMS = ("nn.SpatialBatchNormalization", "cudnn.SpatialBatchNormalization")
_PARTS = ("weight", "bias")
_FOLDED_NOTE = (
    "The file is one of upstream's trainer: its batch norms, with the statistics of the training, were folded"
    " into the convolutions before them."
)
_PTH_NOTE = (
    "The file does not hold the mean and the deviation of its input; these are model_gan's. model_mse and the"
    " pencil models have others, which only their .t7 files hold."
)


def read_t7(path: Path, answers: Answers) -> Imported:
    """A `.t7`, released as `model_gan.t7` was or saved by `train.lua`: a table of model, mean and std.

    Raises:
        RefusedFile: The file is no such table, or its model is not of that shape.
    """
    saved = read_torch7(path)
    with refusing(path):
        if not isinstance(saved, dict) or not isinstance(saved.get("model"), Module):
            raise Refusal("is no table that holds a model")
        mean, std = (_statistic(saved, name) for name in ("mean", "std"))
        layers = _layers(saved["model"])
        state = {
            f"{2 * i}.{part}": tensor
            for i, layer in enumerate(layers)
            for part, tensor in zip(_PARTS, layer.folded(), strict=True)
        }
    names = {
        f"{2 * i}.{part}": f"the {part} of module {layer.number}"
        for i, layer in enumerate(layers)
        for part in _PARTS
    }
    notes = [_FOLDED_NOTE] if any(layer.norm for layer in layers) else []
    return _imported(path, state, names, mean, std, answers.way, *notes)


def read_pth(path: Path, answers: Answers) -> Imported:
    """A conversion to PyTorch: the same tensors under names that differ in their numbers only, in whose order
    the layers are, such as `0.weight`, `layer1.0.weight` or `layers.0.weight`.

    Raises:
        RefusedFile: The file is no such state dict, or not of the released shape.
    """
    saved = read_checkpoint(path)
    with refusing(path):
        theirs = state_dict(saved)
        layers = sorted({name.rpartition(".")[0] for name in theirs}, key=_numbers)
        kinds = {re.sub(r"\d+", "#", layer) for layer in layers}
        if len(kinds) > 1:
            raise Refusal(f"has layers of different names: {', '.join(sorted(kinds))}")
    names = {
        f"{2 * i}.{part}": f"{layer}.{part}" for i, layer in enumerate(layers) for part in _PARTS
    }
    state = {ours: theirs[name] for ours, name in names.items() if name in theirs}
    extra = {name: theirs[name] for name in theirs.keys() - names.values()}
    return _imported(
        path, state | extra, names, MODEL_GAN_MEAN, MODEL_GAN_STD, answers.way, _PTH_NOTE
    )


def _imported(
    path: Path,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    mean: float,
    std: float,
    way: str,
    *notes: str,
) -> Imported:
    """The model in a state of our names; `names` says what the file calls them."""
    with refusing(path):
        channels = _channels(state)
        with torch.device("meta"):
            check_state(SketchSimplification(channels=channels), state, path, names)
    options = {"extractor": SIMPLIFICATION, "mean": mean, "std": std, PREPROCESSING: way}
    return Imported(
        network={"channels": channels},
        # Upstream leaves the contrast of drawings as it is.
        options={**options, "black": 0.0, "white": 1.0},
        weights=state,
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


@dataclass(frozen=True)
class _Layer:
    """A convolution and the batch norm behind it, if there is one.

    Args:
        number: Of the convolution's module.
        outputs: The axis of its weight that its channels are on.
        weight: Of four axes.
        bias: One for each channel.
        norm: What its channels are multiplied by, and what is added then.
    """

    number: int
    outputs: int
    weight: Tensor
    bias: Tensor
    norm: tuple[Tensor, Tensor] | None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of one convolution that does the same."""
        if self.norm is None:
            return self.weight, self.bias
        scale, shift = self.norm
        shape = [-1 if axis == self.outputs else 1 for axis in range(4)]
        weight = self.weight.double() * scale.view(shape)
        return weight.float(), (self.bias.double() * scale + shift).float()


def _layers(model: Module) -> list[_Layer]:
    """The convolutions, if every module is what these networks have.

    Raises:
        Refusal: One is not.
    """
    modules = model.fields.get("modules")
    if model.kind != "nn.Sequential" or not isinstance(modules, dict):
        raise Refusal(f"has a {model.kind} as its model, not an nn.Sequential")
    folded = 2 * len(LAYERS)
    # The last convolution has no norm.
    normed = folded + len(LAYERS) - 1
    if len(modules) not in (folded, normed):
        raise Refusal(
            f"has {len(modules)} modules; released networks, whose batch norms are folded, have {folded},"
            f" and those of train.lua {normed}"
        )
    layers = []
    number = 1
    for i, (kind, _, kernel) in enumerate(LAYERS):
        last = i + 1 == len(LAYERS)
        convolution = _module(modules, number, _TRANSPOSED if kind == "up" else _CONVOLUTIONS)
        _check_geometry(number, convolution, kernel, 1 if kind == "same" else 2)
        weight, bias = (_tensor(convolution, number, part) for part in _PARTS)
        if weight.dim() == 2:
            # Some convolutions keep theirs as a matrix.
            weight = weight.view(len(weight), -1, kernel, kernel)
        outputs = 1 if kind == "up" else 0
        norm = None
        if len(modules) == normed and not last:
            if weight.dim() != 4:
                raise Refusal(f"has {list(weight.shape)} as weight of module {number}")
            module = _module(modules, number + 1, _NORMS)
            norm = _norm(module, number + 1, weight.shape[outputs])
        layers.append(_Layer(number, outputs, weight, bias, norm))
        number += 3 if norm else 2
        active = "Sigmoid" if last else "ReLU"
        _module(modules, number - 1, (f"nn.{active}", f"cudnn.{active}"))
    return layers


def _norm(module: Module, number: int, channels: int) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies channels by, and what it adds, [channels] in float64."""

    def part(name: str) -> Tensor:
        tensor = _tensor(module, number, name)
        if list(tensor.shape) != [channels]:
            raise Refusal(
                f"has {list(tensor.shape)} as {name} of module {number}, not [{channels}]"
            )
        return tensor.double()

    if "running_std" in module.fields:
        # The oldest ones keep one over the deviation.
        scale = part("running_std")
    else:
        eps: Any = module.fields.get("eps")
        if type(eps) not in (int, float) or not 0 <= eps < 1:
            raise Refusal(f"has {eps!r} as eps of module {number}")
        scale = 1 / (part("running_var") + eps).sqrt()
    shift = -part("running_mean") * scale
    if module.fields.get("affine") is not False:
        weight, bias = map(part, _PARTS)
        scale, shift = scale * weight, shift * weight + bias
    return scale, shift


def _tensor(module: Module, number: int, part: str) -> Tensor:
    stored = module.fields.get(part)
    if not isinstance(stored, Stored):
        raise Refusal(f"has no {part} in module {number}")
    return stored.tensor()


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
