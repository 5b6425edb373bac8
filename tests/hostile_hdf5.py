"""HDF5 files that attack who reads them, each with what a reader should say about it."""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.pickle_bombs import TOO_MANY
from tests.reference import sketch_keras as keras

# Where the superblock says where the root begins.
ROOT = 64


def hostile_hdf5(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    """All of them; `folder` is for a file that is made on the way, and removed."""
    path = folder / "good"
    good = keras.write_keras(keras.random_layers(), path).read_bytes()
    today = keras.write_keras(keras.random_layers(), path, old=False).read_bytes()
    path.unlink()
    yield from disguised(good)
    yield from unlike_keras()
    yield from lies(good)
    yield from loops(good, today)


def hdf5(fill: Callable[[Any], object], **options: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return content.getvalue()


def replaced(whole: bytes, place: int, content: bytes) -> bytes:
    return whole[:place] + content + whole[place + len(content) :]


def disguised(good: bytes) -> Iterator[tuple[str, bytes, str]]:
    """They are not what their names say, or not all of it."""
    for part in (1, 20, 90, 1000, len(good) // 2, len(good) - 1):
        yield f"{part}.h5", good[:part], "is cut off|is damaged|is not an HDF5 file"
    yield "empty.h5", b"", "is empty"
    yield "pointer.h5", b"version https://git-lfs", "is not an HDF5 file, but a Git LFS pointer"
    layout = "is in another HDF5 layout than Keras writes; save it again"
    yield "version.h5", replaced(good, 8, b"\x02"), layout
    yield "base.h5", replaced(good, 24, b"\x08"), layout
    yield "latest.h5", hdf5(lambda file: None, libver="latest"), layout
    (root,) = struct.unpack_from("<Q", good, ROOT)
    yield "root.h5", replaced(good, root, b"OHDR"), layout
    yield "nothing.h5", hdf5(lambda file: None), "has no attribute layer_names of the file"


def unlike_keras() -> Iterator[tuple[str, bytes, str]]:
    """HDF5 files of something else."""

    def words(value: Any) -> bytes:
        return hdf5(lambda file: file.attrs.update(layer_names=value))

    def array(**dataset: Any) -> bytes:
        def fill(file: Any) -> None:
            layer = file.create_group("conv2d_1")
            layer.create_dataset("kernel:0", **dataset)
            layer.attrs["weight_names"] = np.array([b"kernel:0"])
            # One array stands for all convolutions.
            file.attrs["layer_names"] = np.array([b"conv2d_1"] * 18)
            norm = file.create_group("norm")
            norm.create_dataset("gamma:0", data=np.zeros(1, "f4"))

        return hdf5(fill)

    yield "numbers.h5", words(np.arange(3)), "has an attribute layer_names that is no list of words"
    yield "absent.h5", words(np.array([b"conv2d_1"])), "has no /conv2d_1"
    yield "path.h5", words(np.array([b"../../etc/passwd"])), "has no /.."
    yield "group.h5", array(data=np.zeros(3, "S4")), "holds other numbers than little-endian"
    zeros = np.zeros((8, 8, 8, 8), np.float32)
    for name, options in (("chunks", {"chunks": True}), ("packed", {"compression": 9})):
        refusal = "holds an array in chunks, which Keras does not write: /conv2d_1/kernel:0"
        yield f"{name}.h5", array(data=zeros, **options), refusal
    # Of which nothing was ever written.
    yield "unwritten.h5", array(shape=(2**20, 2**20), dtype="f4"), "is cut off|whose shape is not"


def lies(good: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Arrays and words that are not where they say."""
    shape = good.index(struct.pack("<4Q", 3, 3, 1, 3))
    for name, length in (("huge", 2**60), ("overflowing", 2**64 - 1), ("none", 0)):
        content = replaced(good, shape + 24, struct.pack("<Q", length))
        yield f"{name}.h5", content, "holds an array whose shape is not that of its data"
    heap = good.index(b"HEAP")
    yield "names.h5", replaced(good, heap + 24, struct.pack("<Q", 2**63)), "is damaged|is cut off"
    yield "heap.h5", replaced(good, heap, b"WEEP"), "a group has no names"
    leaf = good.index(b"SNOD")
    yield "leaf.h5", replaced(good, leaf, b"SNAP"), "a group has no members"


def loops(good: bytes, today: bytes) -> Iterator[tuple[str, bytes, str]]:
    """Their parts lead back to themselves."""
    # A node of the root's members whose children are all itself.
    tree, end = good.index(b"TREE"), len(good)
    node = struct.pack("<4s2xHqq", b"TREE", 65535, -1, -1) + struct.pack("<QQ", 0, end) * 65535
    led_there = good.replace(struct.pack("<Q", tree), struct.pack("<Q", end))
    yield "tree.h5", led_there + node, TOO_MANY
    (root,) = struct.unpack_from("<Q", good, ROOT)
    again = struct.pack("<HHB3xQQ", 16, 16, 0, root + 16, 24)
    header = struct.pack("<BxHII4x", 1, 1, 1, len(again)) + again
    yield "header.h5", replaced(good, root, header), TOO_MANY
    collection = today.index(b"GCOL")
    missing = replaced(today, collection + 16, bytes(16))
    yield "word.h5", missing, "a word is missing|is damaged"
    unending = replaced(today, collection + 8, struct.pack("<Q", 2**63))
    yield "collection.h5", unending, "is cut off"
