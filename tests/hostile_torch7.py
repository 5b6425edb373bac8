"""Torch7 files that attack who reads them, each with what a reader should say about it."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.hostile_files import OUTSIDE
from tests.pickle_bombs import MANY, TOO_LARGE, TOO_MANY
from tests.reference import sketch_simplification as plain
from tests.reference.sketch_simplification import LuaStorage, LuaTensor, Torch7Writer

TABLE, TORCH = (struct.pack("<i", kind) for kind in (3, 4))
MOST = 2**31 - 1


def hostile_torch7() -> Iterator[tuple[str, bytes, str]]:
    """All of them."""
    yield from disguised()
    yield from executing()
    yield from tangled()
    yield from endless()
    yield from lies()


def table(*entries: bytes, count: int | None = None, number: int = 1) -> bytes:
    """A table with these keys and values, which claims to have so many."""
    claimed = len(entries) // 2 if count is None else count
    return TABLE + struct.pack("<2i", number, claimed) + b"".join(entries)


def word(value: str) -> bytes:
    return struct.pack("<2i", 2, len(value)) + value.encode()


def number(value: float) -> bytes:
    return struct.pack("<id", 1, value)


def torch_object(kind: str, content: bytes) -> bytes:
    names = b"".join(struct.pack("<i", len(name)) + name for name in (b"V 1", kind.encode()))
    return TORCH + struct.pack("<i", 2) + names + content


def saved(content: Any) -> bytes:
    writer = Torch7Writer()
    writer.write(content)
    return bytes(writer.written)


def disguised() -> Iterator[tuple[str, bytes, str]]:
    """They are not what their names say, or not all of it."""
    whole = saved(plain.torch7_table(plain.random_layers()))
    for part in (1, 3, 40, 1000, len(whole) // 2, len(whole) - 1):
        yield f"{part}.t7", whole[:part], "is cut off|is damaged|is not a binary Torch7 file"
    other = "is not a binary Torch7 file, but"
    yield "empty.t7", b"", "is empty"
    yield "page.t7", b"<html>Quota exceeded", f"{other} a web page"
    yield "zip.t7", b"PK\x03\x04", f"{other} a zip file"
    yield "text.t7", b"4\n1\n3\nV 1\n", f"{other} begins with 34 0a 31"
    yield "big_endian.t7", b"\x00\x00\x00\x03", f"{other} begins with"
    yield "type.t7", table(word("model"), struct.pack("<i", 99)), "has an object of type 99"


def executing() -> Iterator[tuple[str, bytes, str]]:
    """They ask for more than data."""
    for kind in (6, 7, 8):
        function = struct.pack("<3i", kind, 2, 4) + b"\x1bLua" + struct.pack("<i", 0)
        yield f"function{kind}.t7", table(word("model"), function), "holds a Lua function"
    for kind in ("os.execute", "tds.Hash", "torch.Timer", "nnx.Linear", "torch.Storage"):
        yield f"{kind}.t7", torch_object(kind, table()), f"asks for {kind}; only tensors and layers"
    escape = torch_object("\x1b]0;title\n", table())
    yield "terminal.t7", escape, r"asks for \?\]0;title\?; only"


def tangled() -> Iterator[tuple[str, bytes, str]]:
    """What they hold is in the wrong place."""
    yield "class.t7", torch_object("nn." + "a" * 1000, table()), "a class of a very long name"
    yield "fields.t7", torch_object("nn.Linear", word("a")), "has a nn.Linear without fields"
    for name, key in (("table", table(number=2)), ("half", number(0.5)), ("nan", number(np.nan))):
        refusal = "keys other than words and whole numbers"
        yield f"{name}_key.t7", table(key, word("a")), refusal
    data = torch_object("torch.FloatTensor", struct.pack("<i3q", 1, 4, 1, 1) + word("a"))
    yield "data.t7", data, "holds a tensor without data"
    itself = TABLE + struct.pack("<i", 1)
    yield "itself.t7", table(word("model"), itself), "is no table that holds a model"
    content = plain.torch7_table(plain.random_layers())
    content["model"].fields["modules"][1] = content["model"]
    yield "model_in_itself.t7", saved(content), "has a nn.Sequential as module 1"


def endless() -> Iterator[tuple[str, bytes, str]]:
    """They hold far more than a network, or claim to."""
    yield "entries.t7", table(count=MOST), "is cut off"
    yield "no_entries.t7", table(count=-1), "of a negative length"
    yield "word.t7", table(struct.pack("<2i", 2, MOST), count=1), "is cut off"
    yield "no_word.t7", table(struct.pack("<2i", 2, -8), count=1), "of a negative length"
    yield "numbers.t7", table(number(1) * 2 * MANY, count=MANY), TOO_MANY
    yield "texts.t7", table(word("a" * 64 * MANY), word("b")), TOO_MANY
    deep = b"".join(table(word("a"), count=1, number=i) for i in range(1, 100_000))
    yield "deep.t7", deep, "nests its parts far deeper"
    for name, count, refusal in (
        ("long", 2**60, "is cut off"),
        ("overflowing", 2**62 + 1, "is cut off"),
        ("negative", -4, "of a negative length"),
    ):
        storage = torch_object("torch.FloatStorage", struct.pack("<q", count) + bytes(16))
        yield f"{name}_storage.t7", storage, refusal
    dimensions = torch_object("torch.FloatTensor", struct.pack("<i", MOST))
    yield "dimensions.t7", dimensions, "holds a tensor of an impossible shape"


def lies() -> Iterator[tuple[str, bytes, str]]:
    """Tensors that are not where they say."""
    for name, changes, refusal in (
        ("outside", {"size": (10**6,), "stride": (1,)}, OUTSIDE),
        ("far", {"size": (2,), "stride": (10**9,)}, OUTSIDE),
        ("offset", {"offset": 10**9}, OUTSIDE),
        ("expanded", {"size": (10**12,), "stride": (0,)}, OUTSIDE),
        ("backwards", {"size": (2,), "stride": (-1,)}, "of an impossible shape"),
        ("negative", {"size": (-2,), "stride": (1,)}, "of an impossible shape"),
        ("before", {"offset": -2}, "of an impossible shape"),
    ):
        content = plain.torch7_table(plain.random_layers())
        vars(content["model"].fields["modules"][1].fields["weight"]).update(changes)
        yield f"{name}.t7", saved(content), refusal
    content = plain.torch7_table(plain.random_layers())
    storage = LuaStorage("torch.FloatStorage", np.zeros(2**20, np.float32))
    for module in content["model"].fields["modules"].values():
        if "weight" in module.fields:
            module.fields["weight"] = LuaTensor("torch.FloatTensor", storage, (2**20,))
    yield "shared.t7", saved(content), TOO_LARGE
