"""Network pickles of NVlabs/stylegan2-ada-pytorch, and those of NVlabs/stylegan3 that hold a StyleGAN2.

Every module is pickled as a call that takes `{class_name, module_src, state}`; upstream runs the source code
in `module_src`. Here it is not even looked at: tensors and options are in `state`.
"""

import re
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import Record, Refusal, read_pickle, refusing
from faceloom.generator.tensor_names import TensorNames
from faceloom.stylegan2.published import (
    STAND_INS,
    check_filter,
    filters,
    imported,
    level_count,
    nvidia_notes,
    plain,
)

# The state of every module, by its name.
Modules: TypeAlias = dict[str, dict[str, Any]]

_LAYOUT = TensorNames(
    mean="mapping.w_avg",
    const="synthesis.b4.const",
    dense="mapping.fc{n}.",
    first="synthesis.b4.conv1.",
    up="synthesis.b{side}.conv0.",
    plain="synthesis.b{side}.conv1.",
    to_rgb="synthesis.b{side}.torgb.",
    noise="{conv}noise_const",
    style={
        "weight": "weight",
        "modulation.weight": "affine.weight",
        "modulation.bias": "affine.bias",
    },
)
_DENSE = r"mapping\.fc\d+"
_CONV = r"synthesis\.b\d+\.conv\d"
_TO_RGB = r"synthesis\.b\d+\.torgb"
# What all networks that can be served have in common: modules, option, value; and what the others are.
_COMMON = (
    (r"", "c_dim", 0, "is conditional"),
    (r"", "img_channels", 3, "makes no colour pictures"),
    (r"synthesis\.b\d+", "architecture", "skip", "is of another architecture"),
    (_DENSE, "activation", "lrelu", "is of another architecture"),
    (_CONV, "activation", "lrelu", "is of another architecture"),
    (_CONV, "use_noise", True, "takes no noise"),
)
_MOST_PARTS = 1000
_LONGEST_NAME = 100


def read_nvlabs(path: Path, answers: Answers) -> Imported:
    """The averaged generator `G_ema` of a pickle; unconditional, with skip connections.

    Raises:
        RefusedFile: The file is no such pickle, or holds another kind of network.
    """
    snapshot = read_pickle(path, STAND_INS)
    with refusing(path):
        if isinstance(snapshot, tuple):
            raise Refusal("holds networks of TensorFlow; import it with --format tensorflow")
        if not isinstance(snapshot, dict) or not isinstance(snapshot.get("G_ema"), Record):
            raise Refusal("has no G_ema, which network pickles have")
        modules = _modules(snapshot["G_ema"])
        _check_options(modules)
        tensors = state_dict(_tensors(modules))
        for name in [name for name in tensors if name.endswith("resample_filter")]:
            check_filter(name, 4 * tensors.pop(name))
        state = {
            name: _with_our_axes(name, tensor) for name, tensor in _LAYOUT.ours(tensors).items()
        }
        rate = _option(modules, _DENSE, "bias_gain")
        clamp = _option(modules, f"{_CONV}|{_TO_RGB}", "conv_clamp")
        half = any(module.get("use_fp16") is True for module in modules.values())
    return imported(
        path,
        state | filters(level_count(state)),
        lr_mlp=rate,
        conv_clamp=clamp,
        names=_LAYOUT.names,
        notes=nvidia_notes(clamp, half),
    )


def _modules(generator: Record) -> Modules:
    found: Modules = {}
    waiting = [("", generator)]
    while waiting:
        name, module = waiting.pop()
        (meta,) = module.arguments
        found[name] = state = meta["state"]
        for part, child in state["_modules"].items():
            waiting.append((_joined(name, part, len(found) + len(waiting)), child))
    return found


def _tensors(modules: Modules) -> dict[str, Any]:
    """Every tensor, by its name."""
    found: dict[str, Any] = {}
    for name, state in modules.items():
        for kind in ("_parameters", "_buffers"):
            for part, tensor in state[kind].items():
                if tensor is not None:
                    found[_joined(name, part, len(found))] = tensor
    return found


def _joined(name: str, part: str, count: int) -> str:
    # Modules can be shared, and hold themselves.
    joined = f"{name}.{part}" if name else part
    if len(joined) > _LONGEST_NAME or count > _MOST_PARTS:
        raise Refusal("holds far more than a generator")
    return joined


def _check_options(modules: Modules) -> None:
    if "synthesis.input" in modules:
        raise Refusal("is a StyleGAN3; only StyleGAN2 can be served")
    for pattern, option, wanted, fault in _COMMON:
        value = _option(modules, pattern, option)
        if value != wanted:
            raise Refusal(f"{fault}: {option} is {value!r}; only {wanted!r} can be served")
    z_dim, w_dim = (_option(modules, "", option) for option in ("z_dim", "w_dim"))
    if z_dim != w_dim:
        raise Refusal(f"maps z of {z_dim} to w of {w_dim}; only equal lengths can be served")


def _option(modules: Modules, pattern: str, option: str) -> Any:
    """What an option is in all modules whose names have this pattern."""
    values = [
        plain(state.get(option)) for name, state in modules.items() if re.fullmatch(pattern, name)
    ]
    if not values:
        raise Refusal(f"has no module like {pattern}")
    if any(value != values[0] for value in values):
        raise Refusal(f"has parts of different {option}")
    return values[0]


def _with_our_axes(name: str, tensor: Tensor) -> Tensor:
    if name.startswith("noises."):
        return tensor[None, None]
    if re.fullmatch(r"to_rgb(1|s\.\d+)\.bias", name):
        return tensor[None, ..., None, None]
    if name.endswith(("conv.weight", "noise.weight", "input.input")):
        return tensor[None]
    return tensor
