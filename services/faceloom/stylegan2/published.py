"""What the importers of all published formats share. They end in a state in our names, which is held strictly
to the generator that its tensors describe: size, depth and widths are read from them."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.import_result import Imported, check_state
from faceloom.checkpoints.state_dict import weights
from faceloom.checkpoints.untrusted import Attributes, Record, Refusal, refusing
from faceloom.stylegan2.layers import Upsample
from faceloom.stylegan2.network import Generator

LICENCE_NOTE = (
    "The file does not say under which licence it is: networks that NVIDIA publishes, and what was trained"
    " from them, are for non-commercial use (Nvidia Source Code License-NC)."
)
# Rosinality's code trains the mapping at this rate, and all that builds on it; it is not in the files.
LR_MLP = 0.01
# As many as pixel2style2pixel takes for networks that come without.
_SAMPLES = 100_000
MEAN_NOTE = (
    "The file holds no mean latent, which truncation needs; this one is the mean of"
    f" {_SAMPLES:,} mapped latents of a fixed seed."
)
# For what NVIDIA's pickles name, of PyTorch and of TensorFlow, so that one can be told from the other.
STAND_INS = {
    ("dnnlib.tflib.network", "Network"): Record,
    ("dnnlib.util", "EasyDict"): Attributes,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Record,
}

_LARGEST = 1024
_MOST_ITEMS = 16
_FILTERS = ("blur.kernel", "upsample.kernel")


def imported(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    lr_mlp: float,
    conv_clamp: float | None = None,
    names: Mapping[str, str] | None = None,
    notes: tuple[str, ...] = (),
    with_mean: bool = True,
) -> Imported:
    """A state as a model of ours.

    Args:
        path: The file that it comes from, for messages.
        state: Every tensor of the network in our names, and nothing else.
        lr_mlp: Learning-rate multiplier of the mapping.
        conv_clamp: Limit to what convolutions put out.
        names: What the file calls our tensors, for messages, where it has other names.
        notes: What else was found.
        with_mean: Whether the state must hold `latent_avg`, or must not.

    Raises:
        RefusedFile: A tensor is missing, left over or of another shape, or a resampling filter is not the
            published one.
    """
    names = names or {}
    with refusing(path):
        _check_positive("learning rate of the mapping", lr_mlp)
        _check_positive("limit to what convolutions put out", conv_clamp)
        network = generator_arguments(state, names) | {"lr_mlp": lr_mlp}
        if conv_clamp is not None:
            network["conv_clamp"] = conv_clamp
        with torch.device("meta"):
            generator = Generator(**network)
        generator.register_buffer("latent_avg", generator.latent_avg, persistent=with_mean)
        check_state(generator, state, path, names)
        for name, tensor in state.items():
            if name.endswith(_FILTERS):
                check_filter(name, tensor)
    return Imported(network=network, options={}, weights=state, notes=notes)


def generator_arguments(
    state: Mapping[str, Tensor], names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Size, depth and widths of the `Generator` that a state in our names belongs to.

    Raises:
        Refusal: A tensor that tells them is missing or has no such axis, or the size cannot be served.
    """

    def length(name: str, axis: int) -> int:
        shown = (names or {}).get(name, name)
        if name not in state:
            raise Refusal(f"has no {shown}")
        shape = list(state[name].shape)
        if len(shape) <= axis or not shape[axis]:
            raise Refusal(f"has {shown} in the shape {shape}, which cannot be")
        return int(shape[axis])

    levels = level_count(state)
    size = 4 * 2**levels
    if not 4 < size <= _LARGEST:
        raise Refusal(f"makes pictures of {size} pixels; 8 to {_LARGEST} can be served")
    channels = {4: length("input.input", 1)}
    for level in range(1, levels + 1):
        channels[4 * 2**level] = length(f"convs.{2 * level - 1}.conv.weight", 1)
    return {
        "size": size,
        "style_dim": length("conv1.conv.modulation.weight", 1),
        # The first module of the mapping normalises and has no weights.
        "n_mlp": max(0, _count(state, r"style\.(\d{1,2})\.") - 1),
        "channels": channels,
    }


def mean_latent(network: Mapping[str, Any], state: Mapping[str, Tensor]) -> Tensor:
    """The mean latent [style_dim] of a network that comes without.

    Args:
        network: Arguments of the `Generator`.
        state: All its weights, which are not copied.
    """
    with torch.device("meta"):
        generator = Generator(**network)
    generator.load_state_dict(weights(state), assign=True)
    generator.latent_avg = torch.zeros(generator.style_dim)
    return generator.mean_latent(_SAMPLES, torch.Generator().manual_seed(0))


def nvidia_notes(conv_clamp: float | None, half: bool) -> tuple[str, ...]:
    """What follows from how networks are trained with NVIDIA's code, for the card."""
    notes = [LICENCE_NOTE]
    if half:
        notes.append(
            "Its largest resolutions were trained in half precision; here all of it is computed in"
            " float32, as upstream does with force_fp32."
        )
    if conv_clamp is not None:
        notes.append(f"What convolutions put out is limited to {conv_clamp:g}, as in training.")
    return tuple(notes)


def level_count(state: Iterable[str]) -> int:
    """How often the network doubles the picture, by its largest names."""
    convs = _count(state, r"convs\.(\d{1,2})\.")
    return max(_count(state, r"to_rgbs\.(\d{1,2})\."), (convs + 1) // 2)


def filters(levels: int) -> dict[str, Tensor]:
    """The resampling filters by our names, for files that do not keep them among the weights."""
    kernel = Upsample().kernel
    names = [f"convs.{2 * i}.conv.blur.kernel" for i in range(levels)]
    names += [f"to_rgbs.{i}.upsample.kernel" for i in range(levels)]
    return {name: kernel.clone() for name in names}


def plain(value: Any) -> Any:
    """An option of a network: a number, a word, nothing, or a short list of these.

    Raises:
        Refusal: It is anything else, which might not be safe to compare.
    """
    items = value if isinstance(value, list) and len(value) <= _MOST_ITEMS else [value]
    if any(type(item) not in (bool, int, float, str, NoneType) for item in items):
        raise Refusal(f"has a {type(value).__name__} where networks have a number or a word")
    return value


def check_filter(name: str, tensor: Tensor) -> None:
    """Make sure that a filter [4, 4] with the gain of 4 is the published one.

    Raises:
        Refusal: It is another.
    """
    kernel = Upsample().kernel
    if tensor.shape != kernel.shape or not torch.allclose(tensor.float(), kernel):
        raise Refusal(f"resamples with another filter than [1, 3, 3, 1]: {name}")


def _check_positive(what: str, value: Any) -> None:
    if value is not None and not (isinstance(value, float | int) and 0 < value < math.inf):
        raise Refusal(f"has {value!r} as the {what}")


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number in the names of this pattern."""
    matches = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in matches if match), default=0)
