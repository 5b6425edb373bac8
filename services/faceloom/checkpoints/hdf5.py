"""HDF5 files as Keras writes them, read as data: groups, arrays of numbers, and attributes that are lists of
words.

Only that much of the "HDF5 File Format Specification" is here: superblocks of version 0, object headers of
version 1, and arrays in one piece. The library that reads everything is not made for files of strangers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints.unpickling import Budget
from faceloom.checkpoints.untrusted import Refusal, map_file, refusing

_MAGIC = b"\x89HDF\r\n\x1a\n"
# Versions, sizes of addresses and lengths, base address, and the header of the root group.
_SUPERBLOCK = struct.Struct("<8xB4xBB9xQ24x8xQ")
_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 1, 3, 8, 12, 16, 17
# Low bits of a datatype's first byte, and the kinds: words of one length, or of any.
_KIND, _FLOAT, _WORD, _LONG_WORD = 15, 1, 3, 9
_COMPACT, _CONTIGUOUS = 0, 1
_SHARED = 2
_NOT_LITTLE_ENDIAN = 0x41
_MOST_DIMENSIONS = 8
_LONGEST_NAME = 256
_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    2: np.dtype("<f2"),
    4: np.dtype("<f4"),
    8: np.dtype("<f8"),
}


@dataclass(frozen=True)
class Hdf5Object:
    """A group or an array.

    Args:
        messages: Kind and content of what its header says.
        file: Where it lies.
        name: From the root on, for messages.
    """

    messages: list[tuple[int, memoryview]]
    file: "_File"
    name: str

    def __getitem__(self, path: str) -> "Hdf5Object":
        """What a group holds under a name, or below it.

        Raises:
            Refusal: There is no such thing.
        """
        part, _, rest = path.partition("/")
        name = f"{self.name}/{part}"
        if part not in self.members:
            raise Refusal(f"has no {name}")
        found = self.file.object_at(self.members[part], name)
        return found[rest] if rest else found

    @cached_property
    def members(self) -> dict[str, int]:
        """Where each member of a group begins, by name; an array has none."""
        tables = [data for kind, data in self.messages if kind == _SYMBOL_TABLE]
        return {} if not tables else dict(self.file.symbols(*struct.unpack_from("<QQ", tables[0])))

    def words(self, attribute: str) -> list[str]:
        """The words of an attribute.

        Raises:
            Refusal: There is no such attribute, or it holds something else.
        """
        for kind, data in self.messages:
            if kind == _ATTRIBUTE:
                name, datatype, shape, values = _attribute(data)
                if name == attribute:
                    return self._words(attribute, datatype, shape, values)
        raise Refusal(f"has no attribute {attribute} of {self.name or 'the file'}")

    def _words(
        self, attribute: str, datatype: memoryview, shape: tuple[int, ...], values: memoryview
    ) -> list[str]:
        count, size, kind = prod(shape), _size(datatype), datatype[0] & _KIND
        if not count:
            # A list of no words has no type.
            return []
        if kind not in (_WORD, _LONG_WORD) or not size or count * size > len(values):
            raise Refusal(f"has an attribute {attribute} that is no list of words")
        self.file.budget.spend(count)
        pieces = [values[i * size : (i + 1) * size] for i in range(count)]
        if kind == _LONG_WORD:
            pieces = [self.file.heap_object(*struct.unpack("<4xQI", piece)) for piece in pieces]
        return [bytes(piece).partition(b"\0")[0].decode("utf-8") for piece in pieces]

    def tensor(self) -> Tensor:
        """A copy of an array, in float32.

        Raises:
            Refusal: It is no array of floating-point numbers, or not in one piece.
        """
        found = dict(self.messages)
        if not {_DATASPACE, _DATATYPE, _LAYOUT} <= found.keys():
            raise Refusal(f"has no array {self.name}")
        datatype, layout = found[_DATATYPE], found[_LAYOUT]
        shape = _shape(found[_DATASPACE])
        dtype = _DTYPES.get(_size(datatype))
        if datatype[0] & _KIND != _FLOAT or datatype[1] & _NOT_LITTLE_ENDIAN or dtype is None:
            raise Refusal(
                f"holds other numbers than little-endian floating-point ones: {self.name}"
            )
        if layout[0] != 3 or layout[1] not in (_COMPACT, _CONTIGUOUS):
            raise Refusal(f"holds an array in chunks, which Keras does not write: {self.name}")
        if layout[1] == _COMPACT:
            (size,) = struct.unpack_from("<H", layout, 2)
            data = layout[4 : 4 + size]
        else:
            data = self.file.view(*struct.unpack_from("<QQ", layout, 2))
        if prod(shape) * dtype.itemsize != len(data):
            raise Refusal(f"holds an array whose shape is not that of its data: {self.name}")
        self.file.budget.allocate(len(data))
        return torch.from_numpy(np.frombuffer(data, dtype).astype(np.float32).reshape(shape))


def read_hdf5(path: Path) -> Hdf5Object:
    """The root group of a file, which is read from when it is asked.

    Raises:
        RefusedFile: There is no such file, or it is not in the layout that Keras writes.
    """
    with refusing(path):
        file = map_file(path, "an HDF5 file", _MAGIC)
        found = _File(memoryview(file), Budget(len(file)))
        version, offsets, lengths, base, root = _SUPERBLOCK.unpack(found.view(0, _SUPERBLOCK.size))
        if version or (offsets, lengths, base) != (8, 8, 0):
            raise Refusal("is in another HDF5 layout than Keras writes; save it again with Keras")
        return found.object_at(root, "")


@dataclass(frozen=True)
class _File:
    data: memoryview
    budget: Budget

    def view(self, address: int, count: int) -> memoryview:
        if address + count > len(self.data):
            raise Refusal("is cut off")
        self.budget.spend(1)
        return self.data[address : address + count]

    def object_at(self, address: int, name: str) -> Hdf5Object:
        if bytes(self.view(address, 4)) == b"OHDR":
            raise Refusal("is in another HDF5 layout than Keras writes; save it again with Keras")
        version, size = struct.unpack("<B7xI4x", self.view(address, 16))
        if version != 1:
            raise Refusal(f"is damaged: {name or 'the file'} has no header")
        return Hdf5Object(list(self._messages(self.view(address + 16, size))), self, name)

    def _messages(self, block: memoryview) -> Iterator[tuple[int, memoryview]]:
        blocks = [block]
        while blocks:
            block = blocks.pop()
            while len(block) >= 8:
                kind, size, flags = struct.unpack_from("<HHB", block)
                self.budget.spend(1)
                data, block = block[8 : 8 + size], block[8 + size :]
                if kind == _CONTINUATION:
                    blocks.append(self.view(*struct.unpack("<QQ", data)))
                elif not flags & _SHARED:
                    yield kind, data

    def heap_object(self, address: int, index: int) -> memoryview:
        """What words of any length refer to."""
        kind, size = struct.unpack("<4s4xQ", self.view(address, 16))
        rest = self.view(address + 16, size - 16)
        while kind == b"GCOL" and len(rest) >= 16:
            self.budget.spend(1)
            number, length = struct.unpack_from("<H6xQ", rest)
            if number == index:
                return rest[16 : 16 + length]
            rest = rest[16 + length + -length % 8 :]
        raise Refusal("is damaged: a word is missing")

    def symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Name and address of every member of a group."""
        kind, names = struct.unpack("<4s20xQ", self.view(heap, 32))
        if kind != b"HEAP":
            raise Refusal("is damaged: a group has no names")
        nodes = [tree]
        while nodes:
            node = nodes.pop()
            kind, count = struct.unpack("<4s2xH", self.view(node, 8))
            self.budget.spend(count)
            if kind == b"TREE":
                # Keys and children take turns, after the addresses of the neighbours.
                children = struct.iter_unpack("<8xQ", self.view(node + 24, 16 * count))
                nodes.extend(child for (child,) in children)
            elif kind == b"SNOD":
                for name, address in struct.iter_unpack("<QQ24x", self.view(node + 8, 40 * count)):
                    yield self._name(names + name), address
            else:
                raise Refusal("is damaged: a group has no members")

    def _name(self, address: int) -> str:
        ahead = bytes(self.data[address : address + _LONGEST_NAME])
        self.budget.spend(1)
        return ahead[: ahead.index(b"\0")].decode("utf-8")


def _attribute(data: memoryview) -> tuple[str, memoryview, tuple[int, ...], memoryview]:
    """Name, datatype, shape and values."""
    version, flags, *sizes = struct.unpack_from("<BBHHH", data)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise Refusal("has attributes of another kind than Keras writes")
    rest = data[9 if version == 3 else 8 :]
    parts = []
    for size in sizes:
        parts.append(rest[:size])
        # The first version rounds up to a multiple of eight.
        rest = rest[size + -size % 8 if version == 1 else size :]
    name, datatype, space = parts
    return bytes(name).partition(b"\0")[0].decode("utf-8"), datatype, _shape(space), rest


def _shape(space: memoryview) -> tuple[int, ...]:
    version, count, _, kind = struct.unpack_from("<BBBB", space)
    if version not in (1, 2) or count > _MOST_DIMENSIONS:
        raise Refusal("holds an array of an impossible shape")
    if version == 2 and kind == 2:
        return (0,)
    return struct.unpack_from(f"<{count}Q", space, 8 if version == 1 else 4)


def _size(datatype: memoryview) -> int:
    """Bytes of one element."""
    return int.from_bytes(datatype[4:8], "little")
