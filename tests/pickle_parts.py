"""Checkpoints put together by hand, opcode by opcode and record by record."""

import copy
import io
import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import torch

# Name, content, pattern of the refusal.
File: TypeAlias = tuple[str, bytes, str]


def pickled(*parts: bytes) -> bytes:
    """A whole pickle."""
    return pickle.PROTO + b"\x04" + b"".join(parts) + pickle.STOP


def text(value: str) -> bytes:
    """A string."""
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def plain(value: Any) -> bytes:
    """Numbers, strings and tuples of them."""
    return pickle.dumps(value, 2)[2:-1]


def data(value: bytes) -> bytes:
    """A long byte string."""
    return pickle.BINBYTES + struct.pack("<I", len(value)) + value


def row(*parts: bytes) -> bytes:
    """A tuple."""
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


def named(module: str, name: str) -> bytes:
    """A class or function."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """What a function returns."""
    return named(module, name) + row(*arguments) + pickle.REDUCE


def put(index: int) -> bytes:
    """Keeps the last object for later."""
    return pickle.BINPUT + bytes([index]) + pickle.POP


def get(index: int) -> bytes:
    """An object that was kept."""
    return pickle.BINGET + bytes([index])


def storage(count: int) -> bytes:
    """A reference to the float32 storage "0", which has `count` numbers."""
    float_storage = named("torch", "FloatStorage")
    reference = row(text("storage"), float_storage, text("0"), text("cpu"), plain(count))
    return reference + pickle.BINPERSID


def tensor(stored: bytes, size: bytes, stride: bytes) -> bytes:
    """A view of a storage."""
    hooks = call("collections", "OrderedDict")
    arguments = stored, plain(0), size, stride, pickle.NEWFALSE, hooks
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def saved(content: Any, zipped: bool = True) -> bytes:
    """What torch.save writes, in the format of today or in that of before PyTorch 1.6."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def checkpoint(content: bytes, storage: bytes | None = None) -> bytes:
    """Today's format, with any pickle."""
    stored = {} if storage is None else {"archive/data/0": storage}
    return archive({"archive/data.pkl": content} | stored)


def legacy(content: bytes, storages: Mapping[str, tuple[int, bytes]] | None = None) -> bytes:
    """The old format, with any pickle; storages have a length and bytes."""
    storages = storages or {}
    start = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(
        [pickle.dumps(part, 2) for part in start]
        + [content, pickle.dumps(list(storages), 2)]
        + [struct.pack("<q", length) + stored for length, stored in storages.values()]
    )


def archive(records: Mapping[str, bytes], copies: Iterable[str] = (), **changes: Any) -> bytes:
    """A zip file.

    Args:
        records: Its files.
        copies: Names under which its table of contents lists the last of them too.
        changes: What the table says of the last of them, though it is not so.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in records.items():
            zipped.writestr(name, content)
        last = zipped.filelist[-1]
        for key, value in changes.items():
            setattr(last, key, value)
        for name in copies:
            entry = copy.copy(last)
            entry.filename = name
            zipped.filelist.append(entry)
    return file.getvalue()
