"""z and w of a dataset as arrays that stay in their file: memory is taken for the rows that are looked at."""

import json
import os
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 2**20
_FLOAT = np.dtype("<f4")


class Latents(NamedTuple):
    """Of all faces, in the order of metadata.jsonl.

    Args:
        z: float32 [faces, z_dim].
        w: float32 [faces, w_dim], what the synthesis network received.
    """

    z: NDArray[np.float32]
    w: NDArray[np.float32]


def map_latents(file: BinaryIO, rows: int) -> Latents:
    """The arrays of a safetensors file, which may be closed afterwards.

    Args:
        file: At its beginning.
        rows: How many faces there are.

    Raises:
        ValueError: It is no such file, or of another number of faces.
    """
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    try:
        header: dict[str, Any] = json.loads(file.read(min(length, _MAX_HEADER_BYTES)))
        return Latents(*(_mapped(file, length, header[name], rows) for name in ("z", "w")))
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("it is not safetensors with z and w") from None


def _mapped(file: BinaryIO, length: int, place: Any, rows: int) -> NDArray[np.float32]:
    (count, width), (begin, end) = place["shape"], place["data_offsets"]
    if not all(type(one) is int and one >= 0 for one in (count, width, begin, end)):
        raise TypeError
    start = _LENGTH_BYTES + length + begin
    size = count * width * _FLOAT.itemsize
    whole = os.fstat(file.fileno()).st_size
    if place["dtype"] != "F32" or end - begin != size or start + size > whole:
        raise ValueError("it has not the size that its header says")
    if count != rows:
        raise ValueError(f"it has {count} rows for {rows} faces")
    if not size:
        return np.zeros((count, width), _FLOAT)
    return np.memmap(file, _FLOAT, "r", start, (count, width))
