"""safetensors files that lie, each with what a reader should say about it."""

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.pickle_parts import File


def written(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """The layout of safetensors; a header that is not bytes is written as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def hostile_safetensors() -> Iterator[File]:
    """All of them."""
    two = tensor("F32", [2], 0, 8)
    whole = written({"a": two}, bytes(8))
    cut = "is cut off"
    yield "short.safetensors", whole[:-1], cut
    yield "header.safetensors", whole[:20], cut
    yield "promise.safetensors", written({"a": two}, length=2**45), cut
    yield "more.safetensors", written({"a": two}, bytes(80)), "damaged: .* not fully covered"
    yield "shape.safetensors", written({"a": tensor("F32", [3], 0, 8)}, bytes(8)), "invalid shape"
    huge = tensor("F32", [2**33, 2**33], 0, 8)
    yield "overflow.safetensors", written({"a": huge}, bytes(8)), "damaged: .* overflow"
    same = {"a": two, "b": two}
    yield "overlap.safetensors", written(same, bytes(8)), "damaged: .* invalid offset"
    yield "before.safetensors", written({"a": tensor("F32", [2], -8, 0)}, bytes(8)), "damaged"
    yield "dtype.safetensors", written({"a": tensor("O", [2], 0, 8)}, bytes(8)), "damaged"
    yield "json.safetensors", written(b'{"a":'), "damaged: .* invalid JSON"
    yield "deep.safetensors", written(b'{"a":' * 10**5), "damaged: .* invalid JSON"
    words = {"__metadata__": {"format": {"a": 1}}, "a": two}
    yield "metadata.safetensors", written(words, bytes(8)), "damaged: .* expected a string"
    many = {f"{i:06}": tensor("F32", [0], 0, 0) for i in range(10**5)}
    yield "many.safetensors", written(many), "far more entries than a checkpoint"
    odd = {"a": tensor("U8", [1], 0, 1), "b": tensor("F32", [2], 1, 9)}
    yield "crooked.safetensors", written(odd, bytes(9)), "is no tensor of floating-point"
    axes = {"a": tensor("F32", [1] * 10**5, 0, 4)}
    yield "axes.safetensors", written(axes, bytes(4)), "has a with 100000 axes"
    escape = {"\x1b]0;title\n": two}
    yield "terminal.safetensors", written(escape, bytes(8)), "names that no network has"
    yield "empty.safetensors", written({}), "holds no state dict"
    yield "number.safetensors", written(b"5       "), "is not a PyTorch .* but begins with"
