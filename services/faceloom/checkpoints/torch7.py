"""Files that Torch7's `torch.save` wrote, read as data: numbers, strings, tables, tensors and modules.

Their format is that of torch7's File.lua, in binary, of little-endian machines with longs of 64 bits, or of
32 as Windows has them. Lua functions, which such files can hold too, are refused.
"""

import struct
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints.safe_globals import check_shape
from faceloom.checkpoints.unpickling import Budget, Tape
from faceloom.checkpoints.untrusted import Refusal, map_file, refusing

_NIL, _NUMBER, _STRING, _TABLE, _TORCH, _BOOLEAN = range(6)
_FUNCTIONS = (6, 7, 8)
# A table or an object is all that is ever saved.
_MAGIC = tuple(struct.pack("<i", kind) for kind in (_TABLE, _TORCH))
_DEEPEST = 50
_MOST_DIMENSIONS = 8
_LONGEST_NAME = 100
# Bytes of a long.
_LONG, _SHORT_LONG = 8, 4
# Beyond these, not every number is a whole one.
_LARGEST_WHOLE = 2**53

_NUMBERS: Final = {
    "Byte": "u1", "Char": "i1", "Short": "i2", "Int": "i4", "Long": "i8",
    "Half": "f2", "Float": "f4", "Double": "f8",
}  # fmt: skip
# Tensors on a GPU were of 32-bit numbers at first, and kept their name.
_DTYPES: Final = {"torch.Cuda": np.dtype("<f4")} | {
    f"torch.{device}{name}": np.dtype(f"<{code}")
    for device in ("", "Cuda")
    for name, code in _NUMBERS.items()
}
_MODULES = ("nn.", "cudnn.")


@dataclass(frozen=True)
class Module:
    """An object of `nn` or `cudnn`: its class, and its fields by name."""

    kind: str
    fields: dict[Any, Any]


@dataclass(frozen=True)
class Stored:
    """A tensor as it lies in the file."""

    data: memoryview
    dtype: np.dtype[Any]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    budget: Budget

    def tensor(self) -> Tensor:
        """A copy in float32.

        Raises:
            Refusal: The tensor is larger than its data, or all tensors together are larger than the file.
        """
        check_shape((self.offset, *self.size, *self.stride))
        count = prod(self.size)
        steps = zip(self.size, self.stride, strict=True)
        end = self.offset + 1 + sum((n - 1) * step for n, step in steps) if count else self.offset
        flat = np.frombuffer(self.data, self.dtype)
        if max(count, end) > len(flat):
            raise Refusal("holds a tensor that is larger than its data")
        self.budget.allocate(count * self.dtype.itemsize)
        # Data may lie at any byte, where torch cannot look at it.
        values = torch.from_numpy(flat[self.offset : end].astype(np.float32))
        return values.as_strided(self.size, self.stride).clone()


def read_torch7(path: Path) -> Any:
    """What a file holds: tables are dicts, tensors are `Stored`, objects are `Module`.

    Raises:
        RefusedFile: There is no such file, it is damaged, or it asks for anything but data.
    """
    with refusing(path):
        file = map_file(path, "a binary Torch7 file", *_MAGIC)
        try:
            return _Reader(Tape(memoryview(file), Budget(len(file))), _LONG).read()
        except Refusal:
            # Nothing in a file says how long its longs are; only with the right ones it is read to its end.
            tape = Tape(memoryview(file), Budget(len(file)))
            with suppress(Exception):
                found = _Reader(tape, _SHORT_LONG).read()
                if tape.ended:
                    return found
            raise


class _Reader:
    def __init__(self, tape: Tape, long: int) -> None:
        self._tape = tape
        self._bytes_of_long = long
        # What was read already, by the number that the file gives it.
        self._known: dict[int, Any] = {}
        self._depth = 0

    def read(self) -> Any:
        kind = self._int()
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return _number(struct.unpack("<d", self._tape.read(8))[0])
        if kind == _BOOLEAN:
            return self._int() != 0
        if kind == _STRING:
            return self._string()
        if kind in _FUNCTIONS:
            raise Refusal("holds a Lua function; only data is read")
        if kind not in (_TABLE, _TORCH):
            raise Refusal(f"is damaged: it has an object of type {kind}")
        number = self._int()
        if number not in self._known:
            self._depth += 1
            if self._depth > _DEEPEST:
                raise Refusal("nests its parts far deeper than a network")
            self._read_new(kind, number)
            self._depth -= 1
        return self._known[number]

    def _read_new(self, kind: int, number: int) -> None:
        if kind == _TABLE:
            # It may hold itself.
            table: dict[str | int, Any] = {}
            self._known[number] = table
            for _ in range(self._length()):
                key = self.read()
                table[_key(key)] = self.read()
            return
        name = self._class_name()
        base = name.removesuffix("Tensor").removesuffix("Storage")
        if name.startswith(_MODULES):
            module = Module(name, {})
            self._known[number] = module
            fields = self.read()
            if not isinstance(fields, dict):
                raise Refusal(f"has a {name} without fields")
            module.fields.update(fields)
        elif name.endswith("Storage") and base in _DTYPES:
            self._known[number] = self._view(self._long() * _DTYPES[base].itemsize)
        elif name.endswith("Tensor") and base in _DTYPES:
            self._known[number] = self._tensor(_DTYPES[base])
        else:
            raise Refusal(f"asks for {name}; only tensors and layers are read")

    def _class_name(self) -> str:
        """Objects begin with the version of their format, which the oldest ones lack."""
        first = self._string()
        name = self._string() if first.startswith("V ") else first
        if len(name) > _LONGEST_NAME:
            raise Refusal("is damaged: it has a class of a very long name")
        return name

    def _tensor(self, dtype: np.dtype[Any]) -> Stored:
        count = self._length()
        if count > _MOST_DIMENSIONS:
            raise Refusal("holds a tensor of an impossible shape")
        size, stride = (tuple(self._long() for _ in range(count)) for _ in range(2))
        # Lua counts from one.
        offset = self._long() - 1
        data = self.read()
        if data is None:
            data, size, stride, offset = memoryview(b""), (0,), (1,), 0
        if not isinstance(data, memoryview):
            raise Refusal("holds a tensor without data")
        return Stored(data, dtype, size, stride, offset, self._tape.budget)

    def _int(self) -> int:
        return int.from_bytes(self._tape.read(4), "little", signed=True)

    def _long(self) -> int:
        return int.from_bytes(self._tape.read(self._bytes_of_long), "little", signed=True)

    def _length(self) -> int:
        length = self._int()
        if length < 0:
            raise Refusal("is damaged: it has something of a negative length")
        return length

    def _string(self) -> str:
        return self._tape.read(self._length()).decode("utf-8", "replace")

    def _view(self, length: int) -> memoryview:
        if length < 0:
            raise Refusal("is damaged: it has something of a negative length")
        return self._tape.view(length)


def _number(value: float) -> float:
    """Lua has no whole numbers of their own."""
    return int(value) if value.is_integer() and abs(value) < _LARGEST_WHOLE else value


def _key(key: Any) -> str | int:
    if type(key) not in (str, int):
        raise Refusal("has a table with keys other than words and whole numbers")
    return key  # type: ignore[no-any-return]
