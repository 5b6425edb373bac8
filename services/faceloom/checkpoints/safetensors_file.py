"""What safetensors writes: the length of a header, the header, which is JSON, and the tensors that it places.

The library itself checks every claim of the header against the file and copies nothing; here only the size of
the header is limited, which it would take up to 100 MB for.
"""

import mmap
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from faceloom.checkpoints.safe_globals import Refusal

# Several times what the largest of the published networks has.
_LARGEST_HEADER = 2**20
_LENGTH = 8


def is_safetensors(file: mmap.mmap) -> bool:
    """Whether the bytes of a file begin as a header does; its length may still be wrong."""
    return file[_LENGTH : _LENGTH + 1] == b"{" and not any(file[_LENGTH - 2 : _LENGTH])


def read_safetensors(path: Path, file: mmap.mmap) -> dict[str, Tensor]:
    """Every tensor by its name, as views of the file, which is mapped; what else the header says is not read.

    Args:
        path: The file.
        file: The same file in memory.

    Raises:
        Refusal: The header is too large, or is not true of the file.
    """
    length = int.from_bytes(file[:_LENGTH], "little")
    if length > len(file) - _LENGTH:
        raise Refusal("is cut off, or no safetensors file")
    if length > _LARGEST_HEADER:
        raise Refusal("has far more entries than a checkpoint")
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise Refusal(f"is cut off or damaged: {error}") from None
