"""Gathers the latents of all shards in one safetensors file, without ever holding all of them in memory."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faceloom.core.atomic_files import replacing

SCHEMA = 2
_FLOAT = "<f4"
_FLOAT_BYTES = 4
_MAX_HEADER_BYTES = 2**20


def merge_latents(
    target: Path, ordinals: Sequence[int], parts: Mapping[Path, Sequence[int]]
) -> None:
    """Writes z and w of all accepted faces.

    Args:
        target: The file to write.
        ordinals: Of the faces; row i belongs to the i-th.
        parts: Files of shards, each with the ordinals of its rows.
    """
    # Not at the top: who verifies a dataset does without numpy.
    import numpy as np
    from safetensors.numpy import load_file

    filled = {path: rows for path, rows in parts.items() if rows}
    first = load_file(next(iter(filled))) if filled else {}
    widths = {name: first[name].shape[1] if filled else 0 for name in ("w", "z")}
    row_of = {ordinal: row for row, ordinal in enumerate(ordinals)}
    with replacing(target) as new:
        starts = _begin(new, len(ordinals), widths)
        for path, part in filled.items():
            rows = [row_of[ordinal] for ordinal in part]
            latents = load_file(path)
            for name, start in starts.items():
                shape = (len(ordinals), widths[name])
                array = np.memmap(new, _FLOAT, "r+", start, shape)
                array[rows] = latents[name]
                array.flush()


def _begin(path: Path, rows: int, widths: dict[str, int]) -> dict[str, int]:
    """Writes the header and makes room; answers where each tensor starts in the file.

    https://huggingface.co/docs/safetensors: 8 bytes of header length, a JSON header padded with spaces, data.
    """
    header: dict[str, dict[str, Any]] = {"__metadata__": {"schema": str(SCHEMA)}}
    begins: dict[str, int] = {}
    end = 0
    for name, width in widths.items():
        begins[name], end = end, end + rows * width * _FLOAT_BYTES
        offsets = [begins[name], end]
        header[name] = {"dtype": "F32", "shape": [rows, width], "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return {name: 8 + len(text) + begin for name, begin in begins.items()}


def latent_rows(path: Path) -> set[int]:
    """How many rows z and w have in the file: one number, unless something is wrong. Needs no numpy.

    Raises:
        ValueError: It is not what `merge_latents` writes.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        text = file.read(length) if len(start) == 8 and length <= _MAX_HEADER_BYTES else b""
    try:
        header: dict[str, Any] = json.loads(text)
        places = [(*header[name]["shape"], *header[name]["data_offsets"]) for name in ("w", "z")]
        fits = [
            rows * width * _FLOAT_BYTES == end - begin and 8 + length + end <= path.stat().st_size
            for rows, width, begin, end in places
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is not safetensors with z and w") from error
    if not all(fits):
        raise ValueError(f"{path.name} has not the size that its header says")
    return {rows for rows, *_ in places}
