"""Network pickles of NVlabs/stylegan2 and stylegan2-ada, which run on TensorFlow 1: a tuple (G, D, Gs).

A network is pickled as its arguments, its parts, its variables and the source code that builds it, which
upstream runs; here that is not even looked at. Weights are stored as they are in PyTorch, before the scale of
equalised learning rates, with the axes of TensorFlow and the kernel of upsampling convolutions turned.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import Record, Refusal, read_pickle, refusing
from faceloom.generator.tensor_names import TensorNames
from faceloom.stylegan2.published import (
    LR_MLP,
    STAND_INS,
    filters,
    imported,
    level_count,
    nvidia_notes,
    plain,
)

_LAYOUT = TensorNames(
    mean="dlatent_avg",
    const="synthesis/4x4/Const/const",
    dense="mapping/Dense{n}/",
    first="synthesis/4x4/Conv/",
    up="synthesis/{side}x{side}/Conv0_up/",
    plain="synthesis/{side}x{side}/Conv1/",
    to_rgb="synthesis/{side}x{side}/ToRGB/",
    noise="synthesis/noise{layer}",
    style={
        "weight": "weight",
        "modulation.weight": "mod_weight",
        "modulation.bias": "mod_bias",
    },
)
_VERSION = 4
# The functions that build what can be served; configurations A to D of the paper have others.
_FUNCTIONS = {
    "": ("G_main",),
    "mapping/": ("G_mapping",),
    "synthesis/": ("G_synthesis_stylegan2", "G_synthesis"),
}
# Options of all networks that can be served, and what the others are.
_COMMON: dict[str, tuple[Any, str]] = {
    "label_size": (0, "is conditional"),
    "num_channels": (3, "makes no colour pictures"),
    "architecture": ("skip", "is of another architecture"),
    "nonlinearity": ("lrelu", "is of another architecture"),
    "mapping_nonlinearity": ("lrelu", "is of another architecture"),
    "normalize_latents": (True, "is of another architecture"),
    "use_noise": (True, "takes no noise"),
    "resample_kernel": ([1, 3, 3, 1], "resamples with another filter"),
    "dtype": ("float32", "computes in another precision"),
}
# Options that the variables tell too, or that have no part in what a finished network computes.
_OTHERS = re.compile(
    r"resolution|latent_size|dlatent_(size|broadcast|avg_beta)|w_avg_beta|label_fmaps|fmap_\w+"
    r"|mapping_(layers|fmaps|lrmul|func)|synthesis_func|structure|fused_modconv|randomize_noise"
    r"|truncation_\w+|style_mixing_prob|num_fp16_res|conv_clamp"
)
_LONGEST_NAME = 100


def read_tensorflow(path: Path, answers: Answers) -> Imported:
    """The averaged generator `Gs` of a pickle: configuration E or F of StyleGAN2, or ADA's; unconditional.

    Raises:
        RefusedFile: The file is no such pickle, or holds another kind of network.
    """
    networks = read_pickle(path, STAND_INS)
    with refusing(path):
        if isinstance(networks, dict):
            raise Refusal("holds networks of PyTorch; import it with --format nvlabs")
        if not isinstance(networks, tuple) or [type(each) for each in networks] != 3 * [Record]:
            raise Refusal("holds no (G, D, Gs), which network pickles of TensorFlow do")
        parts = dict(_parts(networks[2].state))
        options = _options(parts)
        tensors = state_dict(_variables(parts))
        state = {
            name: _with_our_axes(name, _LAYOUT.names[name], tensor)
            for name, tensor in _LAYOUT.ours(tensors).items()
        }
        clamp = options.get("conv_clamp")
        notes = nvidia_notes(clamp, half=bool(options.get("num_fp16_res")))
    return imported(
        path,
        state | filters(level_count(state)),
        lr_mlp=options.get("mapping_lrmul", LR_MLP),
        conv_clamp=clamp,
        names=_LAYOUT.names,
        notes=notes,
    )


def _parts(main: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The states of the network and its two components, by what their variables' names begin with."""
    components = main.get("components") or {}
    states = {"": main, **{f"{name}/": part.state for name, part in components.items()}}
    for prefix, functions in _FUNCTIONS.items():
        state = states.pop(prefix, {})
        function = state.get("build_func_name")
        if type(function) is not str or function not in functions:
            raise Refusal(
                f"is built by {plain(function)!r}; only StyleGAN2 from configuration E on, which is built"
                f" by {functions[0]}, can be served"
            )
        if state["version"] != _VERSION:
            raise Refusal(
                f"is a pickle of version {plain(state['version'])}; only {_VERSION} is known"
            )
        yield prefix, state
    if states:
        raise Refusal(f"has the component {min(states)}, which no StyleGAN2 has")


def _options(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The arguments that the network was built with; those of the whole overrule those of its components."""
    options: dict[str, Any] = {}
    for prefix in ("synthesis/", "mapping/", ""):
        for name, value in parts[prefix]["static_kwargs"].items():
            if name in _COMMON:
                wanted, fault = _COMMON[name]
                if plain(value) != wanted:
                    raise Refusal(f"{fault}: {name} is {value!r}; only {wanted!r} can be served")
            elif not _OTHERS.fullmatch(name):
                raise Refusal(f"was built with {name}, which no published StyleGAN2 was")
            options[name] = plain(value)
    return options


def _variables(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every variable that counts, by its whole name."""
    found: dict[str, Any] = {}
    for prefix, part in parts.items():
        for name, value in part["variables"]:
            if len(name) > _LONGEST_NAME or prefix + name in found:
                raise Refusal("names variables twice, or as no network does")
            found[prefix + name] = _tensor(value)
    found.pop("lod", None)  # how far a network has grown; these do not grow
    return found


def _tensor(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    # A variable without axes is pickled as a number.
    return torch.tensor(value) if isinstance(value, float) else value


def _with_our_axes(name: str, theirs: str, tensor: Tensor) -> Tensor:
    if name.endswith("conv.weight"):
        weight = _transposed(theirs, tensor, 3, 2, 0, 1)
        return (weight.flip(2, 3) if "Conv0_up" in theirs else weight)[None]
    if name.endswith("modulation.weight") or re.fullmatch(r"style\.\d+\.weight", name):
        return _transposed(theirs, tensor, 1, 0)
    if name.endswith("modulation.bias"):
        return tensor + 1
    if re.fullmatch(r"to_rgb(1|s\.\d+)\.bias", name):
        return tensor[None, ..., None, None]
    return tensor[None] if name.endswith("noise.weight") else tensor


def _transposed(theirs: str, tensor: Tensor, *axes: int) -> Tensor:
    if tensor.dim() != len(axes):
        raise Refusal(f"has {theirs} in the shape {list(tensor.shape)}, which cannot be")
    return tensor.permute(axes)
