"""Small files that cost whoever reads them without care hours, or all memory."""

import pickle
import struct
from collections.abc import Iterator
from pickle import APPEND, BUILD, EMPTY_DICT, EMPTY_LIST, EMPTY_SET, NEWFALSE, NONE, POP

import torch

from tests.pickle_parts import (
    File,
    call,
    checkpoint,
    data,
    get,
    legacy,
    pickled,
    plain,
    put,
    row,
    saved,
    storage,
    tensor,
    text,
)

MANY = 2_000_000
TOO_MANY = "has far more entries than a checkpoint"
TOO_LARGE = "claims more data than it holds"
_F4 = call("numpy", "dtype", text("f4"))
KEY = "has a key that is neither a string nor a small number"


def endless() -> Iterator[File]:
    """They hold far more than any checkpoint."""
    for name, content in (
        ("dict", pickle.dumps(dict.fromkeys(range(MANY)), 2)),
        ("list", pickle.dumps(list(range(MANY)), 2)),
        ("deep", pickled(EMPTY_LIST * MANY, APPEND * (MANY - 1))),
    ):
        yield f"{name}.pkl", content, TOO_MANY
        yield f"{name}.pt", checkpoint(content), TOO_MANY
        yield f"{name}_legacy.pt", legacy(content), TOO_MANY


def hashes() -> Iterator[File]:
    """Keys that take for ever to hash, or to find a place for."""
    # Tuples of twice the same tuple, sixty deep: 2^60 steps.
    twice = pickle.BINPUT + b"\0" + get(0) + pickle.TUPLE2
    tuples = text("a") + pickle.TUPLE1 + twice * 60
    yield "key.pkl", pickled(EMPTY_DICT, tuples, NONE, pickle.SETITEM), KEY
    yield "member.pkl", pickled(EMPTY_SET, pickle.MARK, tuples, pickle.ADDITEMS), KEY
    pairs = EMPTY_LIST + tuples + NONE + pickle.TUPLE2 + APPEND
    yield "pairs.pkl", pickled(call("collections", "OrderedDict", pairs)), KEY
    members = EMPTY_LIST + tuples + APPEND
    yield "set.pkl", pickled(call("builtins", "set", members)), KEY
    yield "dtype.pkl", pickled(call("numpy", "dtype", tuples)), "other than plain numbers"
    # Multiples of this have the same hash.
    colliding = b"".join(plain(i * (2**61 - 1)) + NONE for i in range(1, 100_000))
    yield "colliding.pkl", pickled(EMPTY_DICT, pickle.MARK, colliding, pickle.SETITEMS), KEY


def copies() -> Iterator[File]:
    """One thing of some size, copied again and again."""
    numbers = pickle.dumps(list(range(50_000)), 2)[2:-1] + put(200)
    sets = (call("builtins", "set", get(200)) + POP) * 20_000
    yield "sets.pkl", pickled(numbers, sets, NONE), TOO_MANY
    names = pickle.dumps({f"{i}": i for i in range(50_000)}, 2)[2:-1] + put(200)
    namespace = call("argparse", "Namespace") + get(200) + BUILD + POP
    yield "namespaces.pt", checkpoint(pickled(names, namespace * 20_000, NONE)), TOO_MANY

    megabyte = data(bytes(2**20)) + put(200)
    array = _array(plain((2**18,)), get(200)) + APPEND
    yield "arrays.pkl", pickled(megabyte, EMPTY_LIST, array * 2000), TOO_LARGE
    stored = data(saved(torch.zeros(2**18), zipped=False)) + put(200)
    loaded = call("torch.storage", "_load_from_bytes", get(200)) + APPEND
    yield "storages.pkl", pickled(stored, EMPTY_LIST, loaded * 2000), TOO_LARGE
    encoded = call("_codecs", "encode", get(200), text("latin1"))
    array = _array(plain((2**18,)), encoded) + APPEND
    yield "text.pkl", pickled(text("a" * 2**20) + put(200), EMPTY_LIST, array * 2000), TOO_LARGE
    whole = plain((2**18,)), text("C")
    buffered = call("numpy._core.numeric", "_frombuffer", get(200), _F4, *whole) + APPEND
    yield "buffers.pkl", pickled(megabyte, EMPTY_LIST, buffered * 2000), TOO_LARGE
    # A number times a tuple is a tuple.
    shape = plain((2**30, ("a",)))
    yield "shape.pkl", pickled(megabyte, _array(shape, get(200))), "of an impossible shape"


def claims() -> Iterator[File]:
    """Sizes of things that are not there."""
    for module, name in (("builtins", "bytearray"), ("torch", "FloatTensor")):
        asked = pickled(call(module, name, plain(2**31 - 1)))
        yield f"{name}.pt", checkpoint(asked), rf"asks for {module}\.{name};"
    # As many numbers as bytes, where they are taken for a tuple.
    large = data(bytes(80 * 2**20))
    yield "reference.pt", checkpoint(pickled(large, pickle.BINPERSID)), "data outside of itself"
    view = pickled(tensor(storage(4), large, plain((1,))))
    yield "size.pt", checkpoint(view, bytes(16)), "holds a tensor without data or shape"
    for opcode in (pickle.BINBYTES8, pickle.BINUNICODE8, pickle.BYTEARRAY8):
        yield f"{opcode[0]}.pkl", pickled(opcode, struct.pack("<Q", 2**62)), "is cut off"


def _array(shape: bytes, content: bytes) -> bytes:
    empty = call("numpy.core.multiarray", "_reconstruct")
    return empty + row(plain(1), shape, _F4, NEWFALSE, content) + BUILD
