"""What torch.save writes: a zip archive since PyTorch 1.6, and before that a row of pickles."""

import mmap
import pickle
import struct
import zipfile
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import IO, Any, cast

import torch
from torch import Tensor

from faceloom.checkpoints.safe_globals import (
    PLAIN,
    Record,
    Refusal,
    StandIns,
    check_key,
    check_shape,
)
from faceloom.checkpoints.unpickling import Budget, Tape, Unpickler

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
_LEGACY_PROTOCOL = 1001
# Of the largest numbers.
_ALIGNMENT = 8

# Tens of thousands of files.
_LARGEST_DIRECTORY = 4 * 2**20
# A zip file's last three records: end in 64 bits, where that is, end.
_END = struct.Struct("<4s36xQ8x4s16x4s8xI4xH")
_LOCAL_HEADER = struct.Struct("<4s22xHH")

_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


@dataclass(frozen=True)
class Storage:
    """What tensors are views of. data: uint8 [bytes]"""

    data: Tensor
    dtype: torch.dtype


def read_torch_file(file: mmap.mmap, budget: Budget) -> Any:
    """The object in a file of either format; tensors of a zip file are views of `file`.

    Raises:
        Refusal: It asks for anything but data, or is not what torch.save writes.
    """
    if file[: len(ZIP_MAGIC)] == ZIP_MAGIC:
        return _read_zip(file, budget)
    return _read_legacy(memoryview(file), budget)


def tensor_stand_ins(budget: Budget) -> StandIns:
    """The stand-ins for pickles that hold tensors, which hold a file of the old format each."""
    return TENSORS | {
        ("torch.storage", "_load_from_bytes"): partial(_read_legacy, budget=budget),
    }


def _read_zip(file: mmap.mmap, budget: Budget) -> Any:
    records = _records(file)
    roots = [name.removesuffix("/data.pkl") for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Refusal("is a zip file, but not one that torch.save writes")
    (root,) = roots
    if f"{root}/constants.pkl" in records:
        raise Refusal("is a TorchScript program; only checkpoints are read")
    if records.get(f"{root}/byteorder", b"little") != b"little":
        raise Refusal("holds numbers in big-endian order")
    found: dict[str, Tensor] = {}

    def storage(reference: Any) -> Storage:
        dtype, key, size = _storage(reference)
        if key not in found:
            record = records.get(f"{root}/data/{key}")
            if record is None or len(record) != size:
                raise Refusal("holds a tensor that is larger than its data")
            found[key] = _mapped(record, budget)
        return Storage(found[key], dtype)

    tape = Tape(records[f"{root}/data.pkl"], budget)
    return Unpickler(tape, TENSORS, storage, "utf-8").load()


def _records(file: mmap.mmap) -> dict[str, memoryview]:
    """The files in an archive, by name; they must lie in it as they are."""
    if _directory_size(file) > _LARGEST_DIRECTORY:
        raise Refusal("has far more entries than a checkpoint")
    with zipfile.ZipFile(cast(IO[bytes], file)) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > len(file):
        raise Refusal("claims more data than it holds")
    records = {entry.filename: _record(file, entry) for entry in entries}
    if len(records) != len(entries):
        raise Refusal("holds two files of one name")
    return records


def _record(file: mmap.mmap, entry: zipfile.ZipInfo) -> memoryview:
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise Refusal("is a compressed zip file, which torch.save does not write")
    if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
        raise Refusal("holds a file that would lie outside of it")
    magic, name, extra = _LOCAL_HEADER.unpack_from(file, entry.header_offset)
    begin = entry.header_offset + _LOCAL_HEADER.size + name + extra
    if magic != ZIP_MAGIC or begin + entry.file_size > len(file):
        raise Refusal("is cut off")
    return memoryview(file)[begin : begin + entry.file_size]


def _directory_size(file: mmap.mmap) -> int:
    end64, size64, locator, end, size, comment = _END.unpack(file[-_END.size :].rjust(_END.size))
    if end != b"PK\x05\x06" or comment:
        raise Refusal("is cut off")
    return int(size64 if (end64, locator) == (b"PK\x06\x06", b"PK\x06\x07") else size)


def _mapped(record: memoryview, budget: Budget) -> Tensor:
    if not record:
        return torch.empty(0, dtype=torch.uint8)
    data = torch.frombuffer(record, dtype=torch.uint8)
    if data.data_ptr() % _ALIGNMENT == 0:
        return data
    budget.allocate(len(record))
    return data.clone()


def _read_legacy(data: bytes | memoryview, budget: Budget) -> Any:
    tape = Tape(memoryview(data), budget)
    if tape.view(len(LEGACY_MAGIC)) != LEGACY_MAGIC:
        raise Refusal("is not what torch.save writes")
    found: dict[str, Storage] = {}

    def storage(reference: Any) -> Storage:
        dtype, key, size = _storage(reference)
        if key not in found:
            budget.allocate(size)
            found[key] = Storage(torch.empty(size, dtype=torch.uint8), dtype)
        return found[key]

    def load() -> Any:
        return Unpickler(tape, TENSORS, storage, "utf-8").load()

    if load() != _LEGACY_PROTOCOL or load().get("little_endian") is not True:
        raise Refusal("holds numbers in big-endian order")
    content = load()
    for key in load():
        target = found.pop(check_key(key))
        size = int.from_bytes(tape.view(8), "little") * target.dtype.itemsize
        if size != len(target.data):
            raise Refusal("holds a tensor that is larger than its data")
        target.data.numpy()[:] = tape.view(size)
        tape.forget()
    if found:
        raise Refusal("lacks the data of a tensor")
    return content


def _storage(reference: Any) -> tuple[torch.dtype, str, int]:
    """Type, name and size in bytes of the storage that a pickle refers to."""
    if type(reference) is not tuple or not 5 <= len(reference) <= 6:
        raise Refusal("refers to data outside of itself")
    kind, global_, key, _, count, *view = reference
    dtype = getattr(global_, "stand_in", None)
    if (
        kind != "storage"
        or not isinstance(dtype, torch.dtype)
        or type(key) is not str
        or type(count) is not int
        or count < 0
        or view not in ([], [None])
    ):
        raise Refusal("refers to data outside of itself")
    return dtype, key, count * dtype.itemsize


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage. torch's own function enlarges a storage that the view would leave."""
    if type(storage) is not Storage or not type(size) is type(stride) is tuple:
        raise Refusal("holds a tensor without data or shape")
    check_shape((offset, *size, *stride))
    flat = storage.data.view(storage.dtype)
    if prod(size) == 0:
        return flat.new_empty(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(flat) or prod(size) > len(flat):
        raise Refusal("holds a tensor that is larger than its data")
    return flat.as_strided(size, stride, offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _size(lengths: tuple[int, ...]) -> tuple[int, ...]:
    return lengths


TENSORS: StandIns = PLAIN | {
    ("torch", "Size"): _size,
    ("torch", "device"): Record,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{
        (module, name): dtype
        for module in ("torch", "torch.cuda")
        for name, dtype in _DTYPES.items()
    },
}
