"""State dicts of published checkpoints: names and tensors, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.untrusted import Refusal

# What is put before the names of a network: by torch.nn.DataParallel, torch.compile and Lightning.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
# The one kind of state that is not learned, and counts.
_COUNTER = "num_batches_tracked"
# Several times what the largest of the published networks has.
_MOST_TENSORS = 2000
_LONGEST_NAME = 200
_MOST_AXES = 8


def state_dict(saved: Any, places: Sequence[str] = ("state_dict",)) -> dict[str, Tensor]:
    """The tensors of a network, without the prefixes that wrappers give to their names.

    Args:
        saved: What `read_checkpoint` found in the file.
        places: Keys that may hold the state, the preferred one first, see `part_of`; without any of them the
            file is taken to be a state itself.

    Raises:
        Refusal: It holds anything but tensors of floating-point numbers, or far too many.
    """
    if not isinstance(saved, dict):
        raise Refusal(f"holds a {type(saved).__name__}, not a state dict")
    parts = (part_of(saved, place) for place in places)
    found = next((part for part in parts if part is not None), saved)
    if not isinstance(found, dict) or not found:
        raise Refusal("holds no state dict")
    if len(found) > _MOST_TENSORS:
        raise Refusal("holds far more tensors than a network")
    state: dict[str, Tensor] = {}
    for name, value in found.items():
        bare = _bare(str(name))
        if not isinstance(value, Tensor):
            raise Refusal(f"has {bare}, which is no tensor")
        if not value.is_floating_point() and not bare.endswith(_COUNTER):
            raise Refusal(f"has {bare}, which is no tensor of floating-point numbers")
        if value.dim() > _MOST_AXES:
            raise Refusal(f"has {bare} with {value.dim()} axes")
        if bare in state:
            raise Refusal(f"has {bare} twice")
        state[bare] = value
    return state


def part_of(saved: Mapping[Any, Any], place: str) -> Any:
    """What a checkpoint has under a key; where it is flat, as safetensors files are, all whose names begin
    with the key and a dot. Nothing if there is neither."""
    if saved.get(place) is not None:
        return saved[place]
    prefix = f"{place}."
    flat = {str(name): value for name, value in saved.items() if str(name).startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in flat.items()} or None


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in float32, as models are stored."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }


def precisions(state: Mapping[str, Tensor]) -> list[str]:
    """What its numbers are stored as, besides float32: `float16` for example."""
    kinds = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    return sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32})


def _bare(name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refusal("holds tensors with names that no network has")
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name
