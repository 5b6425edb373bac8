"""What people save is read as it was saved, by both formats of torch.save and by pickle."""

import argparse
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.pickle_parts import (
    call,
    checkpoint,
    legacy,
    named,
    pickled,
    plain,
    row,
    storage,
    tensor,
    text,
)
from torch import nn

from faceloom.checkpoints.untrusted import (
    Attributes,
    Record,
    RefusedFile,
    map_file,
    read_checkpoint,
    read_pickle,
)

ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def read_saved(folder: Path, content: Any, zipped: bool) -> Any:
    """What read_checkpoint makes of what torch.save writes."""
    torch.save(content, folder / "saved.pt", _use_new_zipfile_serialization=zipped)
    return read_checkpoint(folder / "saved.pt")


def read_pickled(folder: Path, content: Any, stand_ins: Any = (), **options: Any) -> Any:
    """What read_pickle makes of an object, or of a pickle."""
    dumped = content if isinstance(content, bytes) else pickle.dumps(content)
    (folder / "saved.pkl").write_bytes(dumped)
    return read_pickle(folder / "saved.pkl", dict(stand_ins), **options)


def assert_same(found: torch.Tensor, saved: torch.Tensor) -> None:
    """The same bits in the same layout, by itself."""
    assert type(found) is torch.Tensor and not found.requires_grad
    assert (found.dtype, found.shape, found.stride()) == (saved.dtype, saved.shape, saved.stride())
    found_bits, saved_bits = (
        value.detach().flatten().contiguous().view(torch.uint8) for value in (found, saved)
    )
    assert found_bits.equal(saved_bits)


@ZIPPED
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_floats_are_read_bit_for_bit(tmp_path: Path, dtype: str, zipped: bool) -> None:
    bits = torch.randint(0, 256, (64, 8), dtype=torch.uint8)
    saved = bits.view(getattr(torch, dtype))

    assert_same(read_saved(tmp_path, saved, zipped), saved)


@ZIPPED
def test_all_that_tensors_can_be_is_read(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(60.0).reshape(6, 10)
    saved = {
        "transposed": base.t(),
        "column": base[2:5, 3],
        "every other": base[::2, ::2],
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "parameter": nn.Parameter(torch.randn(3)),
        "buffer": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "none": torch.empty(0, 512),
    }

    found = read_saved(tmp_path, saved, zipped)

    assert list(found) == list(saved)
    for name, value in saved.items():
        assert_same(found[name], value)


@ZIPPED
def test_views_of_one_storage_still_are(tmp_path: Path, zipped: bool) -> None:
    base = torch.zeros(4, 4)

    found = read_saved(tmp_path, {"all": base, "row": base[1]}, zipped)
    found["row"].fill_(1)

    assert found["all"].sum() == 4


def test_changing_a_tensor_does_not_change_its_file(tmp_path: Path) -> None:
    read_saved(tmp_path, torch.zeros(4), True).fill_(1)

    assert read_checkpoint(tmp_path / "saved.pt").sum() == 0


@ZIPPED
def test_a_trainers_checkpoint_is_read(tmp_path: Path, zipped: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    arguments = argparse.Namespace(lr=0.002, sizes=(4, 8), inner=argparse.Namespace(name="n"))
    saved = {
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "amp": {"scale": 65536.0, "_growth_tracker": 3},
        "metric": np.float64(71.25),
        "names": {"a"},
        "shape": torch.Size([1, 2]),
        "args": arguments,
    }

    found = read_saved(tmp_path, saved, zipped)

    assert found["args"] == {"lr": 0.002, "sizes": (4, 8), "inner": {"name": "n"}}
    rest = {key: found[key] for key in ("amp", "metric", "names", "shape")}
    assert rest == {key: saved[key] for key in rest}
    for name, value in network.state_dict().items():
        assert_same(found["state_dict"][name], value)
    for number, state in optimizer.state_dict()["state"].items():
        assert_same(found["optimizer"]["state"][number]["exp_avg"], state["exp_avg"])


def test_tensors_of_a_gpu_are_read_without_one(tmp_path: Path) -> None:
    content = pickled(tensor(storage(4), plain((4,)), plain((1,)))).replace(
        b"ctorch\nFloat", b"ctorch.cuda\nFloat"
    )
    stored = np.arange(4, dtype="f4").tobytes()
    (tmp_path / "zip.pt").write_bytes(checkpoint(content, stored))
    (tmp_path / "legacy.pt").write_bytes(legacy(content, {"0": (4, stored)}))

    for name in ("zip.pt", "legacy.pt"):
        found = read_checkpoint(tmp_path / name)
        assert_same(found, torch.arange(4.0))
        # Wherever it lies in the file.
        assert found.data_ptr() % 4 == 0


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_and_tensors_in_a_plain_pickle_are_read(tmp_path: Path, protocol: int) -> None:
    saved: dict[str, Any] = {
        "rows": np.random.rand(3, 5).astype("f4"),
        "columns": np.asfortranarray(np.random.rand(3, 5)),
        "number": np.array(3, "i8"),
        "none": np.zeros((0, 4), "u1"),
        "scalar": np.float32(0.1),
        "weight": torch.randn(40, 50),
        "parameter": nn.Parameter(torch.ones(2)),
        "set": {1, 2},
    }

    found = read_pickled(tmp_path, pickle.dumps(OrderedDict(saved), protocol))

    assert list(found) == list(saved)
    for name in ("rows", "columns", "number", "none"):
        assert type(found[name]) is np.ndarray and found[name].dtype == saved[name].dtype
        np.testing.assert_array_equal(found[name], saved[name])
    assert found["scalar"] == float(np.float32(0.1)) and found["set"] == {1, 2}
    assert_same(found["weight"], saved["weight"])
    assert_same(found["parameter"], saved["parameter"])


def test_an_array_that_is_there_twice_is_one(tmp_path: Path) -> None:
    array = np.ones(1000)

    first, second = read_pickled(tmp_path, [array, array])

    assert first is second and first.sum() == 1000


def test_numpys_older_names_are_known(tmp_path: Path) -> None:
    dumped = pickle.dumps([np.float64(2), np.arange(3)], 2)

    found = read_pickled(tmp_path, dumped.replace(b"numpy._core", b"numpy.core"))

    assert found[0] == 2 and found[1].tolist() == [0, 1, 2]


def test_stand_ins_take_the_place_of_what_a_pickle_names(tmp_path: Path) -> None:
    module = call("networks", "rebuild", text("Generator"))
    options = named("dnnlib", "EasyDict") + row() + pickle.NEWOBJ + text("z_dim") + plain(512)
    network = named("dnnlib", "Network") + row() + pickle.NEWOBJ + plain(("state",)) + pickle.BUILD
    dumped = pickled(row(module, options + pickle.SETITEM, network))
    stand_ins = {
        ("networks", "rebuild"): str.upper,
        ("dnnlib", "EasyDict"): Attributes,
        ("dnnlib", "Network"): Record,
    }

    name, found, record = read_pickled(tmp_path, dumped, stand_ins)

    assert (name, found) == ("GENERATOR", {"z_dim": 512})
    assert (record.arguments, record.state) == ((), ("state",))
    with pytest.raises(RefusedFile, match=r"saved\.pkl asks for networks\.rebuild; only data"):
        read_pickled(tmp_path, dumped)


def test_strings_of_python_2_are_decoded_as_asked(tmp_path: Path) -> None:
    dumped = pickled(pickle.SHORT_BINSTRING, b"\x01\xe9")

    assert read_pickled(tmp_path, dumped, encoding="latin1") == "é"
    with pytest.raises(RefusedFile, match="is damaged: UnicodeDecodeError"):
        read_pickled(tmp_path, dumped)


def test_odd_but_harmless_pickles_are_data(tmp_path: Path) -> None:
    deep = pickled(pickle.EMPTY_LIST * 100_000, pickle.APPEND * 99_999)
    far = pickled(pickle.EMPTY_LIST, pickle.LONG_BINPUT, b"\xff\xff\xff\xff")

    assert len(read_pickled(tmp_path, deep)) == 1
    assert read_pickled(tmp_path, far) == []


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    # Opening it would wait for a writer.
    os.mkfifo(tmp_path / "pipe")

    for name, fault in (("nowhere", "does not exist"), ("pipe", "is not a file"), ("", "is not a")):
        for read in (read_checkpoint, lambda path: read_pickle(path, {})):
            with pytest.raises(RefusedFile, match=f"^{tmp_path / name} {fault}"):
                read(tmp_path / name)


def test_files_of_other_formats_can_be_mapped(tmp_path: Path) -> None:
    (tmp_path / "model.t7").write_bytes(b"\x04\0\0\0")

    assert map_file(tmp_path / "model.t7", "a Torch7 file")[:] == b"\x04\0\0\0"
    with pytest.raises(RefusedFile, match="is not a Keras file, but begins with 04 00 00 00"):
        map_file(tmp_path / "model.t7", "a Keras file", b"\x89HDF\r\n\x1a\n")
