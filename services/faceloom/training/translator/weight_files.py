"""Weights of published loss networks, read as data: as published, or imported into a model store."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from faceloom.checkpoints.import_result import check_state
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import RefusedFile, read_checkpoint, refusing
from faceloom.core.errors import UsageError
from faceloom.store.model import file_sha256, open_model
from faceloom.store.torch_model import load_weights

N = TypeVar("N", bound=nn.Module)


def load_frozen(network: N, files: Sequence[Path], unused: str = "") -> N:
    """The network with exactly the tensors of these files, for inference.

    Args:
        network: With the names that the files use.
        files: State dicts, or model folders of them, which add up to the network's.
        unused: Names that begin so are not looked at.

    Raises:
        UsageError: A file cannot be read, or the names or shapes are not those of the network.
        BrokenModel: A folder is not what it says it is.
    """
    state: dict[str, Tensor] = {}
    try:
        for file in files:
            state |= read_weights(file, unused)
        check_state(network, state, Path(", ".join(map(str, files))))
    except RefusedFile as refusal:
        raise UsageError(str(refusal)) from None
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)


def read_weights(path: Path, unused: str = "") -> dict[str, Tensor]:
    """The tensors of a published file or of a model folder, but for names that begin with `unused`.

    Raises:
        RefusedFile: It is no file of weights.
        BrokenModel: It is a folder that is not what it says it is.
    """
    if path.is_dir():
        state = load_weights(open_model(path))
    else:
        saved = read_checkpoint(path)
        with refusing(path):
            state = state_dict(saved)
    return {
        name: tensor for name, tensor in state.items() if not unused or not name.startswith(unused)
    }


def digest_of(paths: Sequence[Path]) -> str:
    """One sha256 for the weights in all of these files or model folders."""
    digests = [
        open_model(path).weights.sha256 if path.is_dir() else file_sha256(path) for path in paths
    ]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
