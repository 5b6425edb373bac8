"""Files that attack who reads them, each with what a reader should say about it."""

import io
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from pickle import BINPERSID, BUILD, EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE, REDUCE, STACK_GLOBAL
from typing import Any

import numpy as np
import torch

from tests import pickle_bombs
from tests.pickle_bombs import TOO_LARGE, TOO_MANY
from tests.pickle_parts import (
    File,
    archive,
    call,
    checkpoint,
    data,
    legacy,
    pickled,
    plain,
    saved,
    storage,
    tensor,
    text,
)

OUTSIDE = "holds a tensor that is larger than its data"


class Touch:
    """Unpickled as usual, it creates a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.sentinel}",)


def hostile_files(sentinel: Path) -> Iterator[File]:
    """All of them; those that run create `sentinel`."""
    yield from running(Touch(sentinel))
    yield from calling()
    yield from disguised()
    yield from archives()
    yield from tensors()
    yield from cut()
    yield from pickle_bombs.endless()
    yield from pickle_bombs.hashes()
    yield from pickle_bombs.copies()
    yield from pickle_bombs.claims()


def running(touch: Touch) -> Iterator[File]:
    """They run a command where they are unpickled as usual."""
    system = r"asks for posix\.system; only data is read"
    yield "system.pt", saved({"weight": touch}), system
    yield "system_legacy.pt", saved({"weight": touch}, zipped=False), system
    yield "system.pkl", pickle.dumps({"G_ema": touch}), system
    yield "objects.pkl", pickle.dumps(np.array([touch])), "numpy data other than plain numbers"
    load = "torch.storage", "_load_from_bytes"
    nested = pickled(call(*load, data(saved(touch, zipped=False))))
    yield "nested.pkl", nested, system
    yield "nested.pt", checkpoint(nested), r"asks for torch\.storage\._load_from_bytes"
    yield "nested_zip.pkl", pickled(call(*load, data(saved(touch)))), "not what torch.save writes"
    # torch.load still reads this oldest format.
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in ("storages", "tensors", "pickle"):
                content = pickle.dumps(touch)
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        yield (
            "tar.pt",
            file.getvalue(),
            "is not a PyTorch checkpoint or safetensors file, but begins with 73 74 6f 72 61 67 65 73",
        )


def calling() -> Iterator[File]:
    """They ask for more than data in other ways."""
    source = call("torch_utils.persistence", "_reconstruct_persistent_obj", EMPTY_DICT)
    yield "source.pkl", pickled(source), "asks for torch_utils.persistence"
    yield "eval.pkl", pickled(call("builtins", "eval", text("1"))), r"asks for builtins\.eval"
    dotted = text("collections") + text("OrderedDict.fromkeys") + STACK_GLOBAL
    yield "dotted.pkl", pickled(dotted), r"asks for collections\.OrderedDict\.fromkeys"
    escape = text("\x1b]0;title\n") + text("x") + STACK_GLOBAL
    yield "terminal.pkl", pickled(escape), r"asks for \?\]0;title\?\.x;"
    yield "inst.pkl", pickled(b"(iposix\nsystem\n"), "has pickle opcode 0x69"
    yield "extension.pkl", pickled(pickle.EXT1, b"\x01"), "has pickle opcode 0x82"
    yield "data.pkl", pickled(text("print"), EMPTY_TUPLE, REDUCE), "calls what is not a function"
    yield "dtype.pt", checkpoint(pickled(call("torch", "FloatStorage"))), "is not a function"
    yield "state.pkl", pickled(EMPTY_LIST, EMPTY_DICT, BUILD), "sets the state of a list"
    elsewhere = "refers to data outside of itself"
    yield "persistent.pkl", pickled(text("0"), BINPERSID), elsewhere
    yield "buffer.pkl", pickled(pickle.NEXT_BUFFER), "keeps its data in other files"
    file = pickle.dumps(("file", None, "/etc/passwd", "cpu", 1))[:-1]
    yield "file.pt", checkpoint(file + BINPERSID + pickle.STOP), elsewhere


def disguised() -> Iterator[File]:
    """They are not what their names say."""
    yield "empty.pt", b"", "is empty"
    yield "page.pt", b"\n<!DOCTYPE html><html>Quota exceeded", "is not a PyTorch .* but a web page"
    yield "pointer.pkl", b"version https://git-lfs.github.com/spec/v1\n", "but a Git LFS pointer"
    yield (
        "packed.pt",
        b"\x1f\x8b\x08",
        "is not a PyTorch checkpoint or safetensors file, but compressed with gzip",
    )
    yield "keras.pt", b"\x89HDF\r\n\x1a\n", "but an HDF5 file"
    yield "zip.pkl", saved({}), "is not a pickle, but a zip file"
    yield (
        "plain.pt",
        pickle.dumps({}),
        "is not a PyTorch checkpoint or safetensors file, but a plain pickle",
    )
    yield "index.pt", b'{"weight_map": {}}', "but text in JSON; .* be joined"
    yield "torch7.pt", b"\x03\0\0\0\1\0\0\0\3\0\0\0", "but a Torch7 file"
    yield "noise.pt", b"\x00noise", "but begins with 00 6e 6f 69 73 65"


def archives() -> Iterator[File]:
    """Zip files that torch.save does not write."""
    inside = {"archive/data.pkl": pickle.dumps({}, 2)}
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    zeros = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    packed = inside | {"archive/data/0": zeros * 900 + deflate.flush()}
    bomb = archive(packed, compress_type=zipfile.ZIP_DEFLATED, file_size=900 * 2**20)
    yield "bomb.pt", bomb, TOO_LARGE
    compressed = archive(packed, compress_type=zipfile.ZIP_DEFLATED)
    yield "compressed.pt", compressed, "is a compressed zip file"
    names = [f"archive/data/{i}" for i in range(1, 100_000)]
    overlapping = archive(inside | {"archive/data/0": bytes(2**20)}, copies=names[:900])
    yield "overlapping.pt", overlapping, TOO_LARGE
    yield "crowded.pt", archive(inside, copies=names), TOO_MANY
    yield "twice.pt", archive(inside, copies=["archive/data.pkl"]), "two files of one name"
    for name in ("../../data.pkl", "/archive/data.pkl", "archive/../data.pkl"):
        traversal = archive({name: pickle.dumps({}, 2)})
        yield f"traversal{len(name)}.pt", traversal, "holds a file that would lie outside of it"
    foreign = "is a zip file, but not one that torch.save writes"
    yield "pictures.pt", archive({"face.png": b"PNG"}), foreign
    yield "two.pt", archive(inside | {"b/data.pkl": b""}), foreign
    yield "script.pt", archive(inside | {"archive/constants.pkl": b""}), "is a TorchScript program"
    yield "big_endian.pt", archive(inside | {"archive/byteorder": b"big"}), "in big-endian order"


def tensors() -> Iterator[File]:
    """Tensors that are not where they say."""
    impossible = "holds a tensor of an impossible shape"
    for name, size, stride, refusal in (
        ("outside", (1000,), (1,), OUTSIDE),
        ("far", (2,), (10**9,), OUTSIDE),
        ("expanded", (10**12,), (0,), OUTSIDE),
        ("negative", (2,), (-1,), impossible),
        ("fractional", (2.0,), (1,), impossible),
    ):
        content = pickled(tensor(storage(4), plain(size), plain(stride)))
        yield f"{name}.pt", checkpoint(content, bytes(16)), refusal
        yield f"{name}_legacy.pt", legacy(content, {"0": (4, bytes(16))}), refusal
    many = pickled(tensor(storage(10**12), plain((1,)), plain((1,))))
    yield "claim.pt", checkpoint(many, bytes(16)), OUTSIDE
    yield "claim_legacy.pt", legacy(many, {"0": (4, bytes(16))}), TOO_LARGE
    four = pickled(tensor(storage(4), plain((4,)), plain((1,))))
    yield "shorter_legacy.pt", legacy(four, {"0": (3, bytes(16))}), OUTSIDE
    yield "nowhere.pt", checkpoint(four), OUTSIDE
    yield "nowhere_legacy.pt", legacy(four), "lacks the data of a tensor"


def cut() -> Iterator[File]:
    """The first parts of good files."""
    content = {"weight": torch.arange(1000.0), "bias": torch.ones(3)}
    for name, whole in (
        ("zip.pt", saved(content)),
        ("legacy.pt", saved(content, zipped=False)),
        ("pickle.pkl", pickle.dumps(content)),
    ):
        for part in (1, 2, 40, len(whole) // 4, len(whole) // 2, len(whole) - 1):
            refusal = f"is cut off|{TOO_LARGE}|is not a PyTorch checkpoint"
            yield f"{part}_{name}", whole[:part], refusal
