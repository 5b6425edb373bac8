"""Weights of published loss networks, read without executing anything."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from faceloom.runtime.errors import UsageError
from faceloom.training import file_digest

N = TypeVar("N", bound=nn.Module)


def load_frozen(network: N, files: Sequence[Path], unused: str = "") -> N:
    """The network with exactly the tensors of these files, for inference.

    Args:
        network: With the names that the files use.
        files: State dicts, which add up to the network's.
        unused: Names that begin so are not looked at.

    Raises:
        UsageError: A file cannot be read, or the names or shapes are not those of the network.
    """
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            state |= torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # Torch raises OSError, RuntimeError, EOFError, UnpicklingError, TypeError, ... for such files.
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UsageError(f"{file} is no file of weights: {reason}") from None
    if unused:
        state = {name: value for name, value in state.items() if not name.startswith(unused)}
    try:
        network.load_state_dict(state, strict=True)
    except (RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        names = ", ".join(map(str, files))
        raise UsageError(
            f"{names}: not the weights of {type(network).__name__}: {reason}"
        ) from None
    return network.eval().requires_grad_(False)


def digest_of(files: Sequence[Path]) -> str:
    """One sha256 for the content of all files."""
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()
