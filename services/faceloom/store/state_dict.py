"""State dicts of published checkpoints: names and tensors, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from faceloom.store.untrusted import Refusal

# What wrappers of a network put before its names: torch.nn.DataParallel and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
# The one kind of state that is not learned, and counts.
_COUNTER = "num_batches_tracked"
# Several times what the largest of the published networks has.
_MOST_TENSORS = 2000
_LONGEST_NAME = 200


def state_dict(saved: Any, places: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors of a network, without the prefixes that wrappers give to their names.

    Args:
        saved: What `read_torch` found in the file.
        places: Keys that may hold the state, the preferred one first; without any of them the file is taken
            to be a state itself.

    Raises:
        Refusal: It holds anything but tensors of floating-point numbers, or far too many.
    """
    if not isinstance(saved, dict):
        raise Refusal(f"holds a {type(saved).__name__}, not a state dict")
    found = next((saved[place] for place in places if saved.get(place) is not None), saved)
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
        if bare in state:
            raise Refusal(f"has {bare} twice")
        state[bare] = value
    return state


def weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in float32, as models are stored."""
    return {
        name: (tensor.float() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }


def _bare(name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refusal("holds tensors with names that no network has")
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name
