"""Hostile files are refused, with nothing run, in little time and memory. A process of its own reads them."""

import json
import pickle
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.hostile_files import Touch, hostile_files
from tests.hostile_hdf5 import hostile_hdf5
from tests.hostile_safetensors import hostile_safetensors
from tests.hostile_torch7 import hostile_torch7

CHILD = Path(__file__).with_name("untrusted_child.py")
SECONDS = 2
MEGABYTES = 500


def read(paths: list[Path]) -> list[dict[str, Any]]:
    """What reading each file took."""
    done = subprocess.run(
        [sys.executable, CHILD, *paths], stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_hostile_files_are_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    expected = {}
    files = chain(
        hostile_files(sentinel), hostile_torch7(), hostile_hdf5(tmp_path), hostile_safetensors()
    )
    for name, content, refusal in files:
        assert tmp_path / name not in expected
        (tmp_path / name).write_bytes(content)
        expected[tmp_path / name] = refusal

    results = read(list(expected))

    assert len(results) == len(expected) > 150
    for (path, refusal), result in zip(expected.items(), results, strict=True):
        assert re.fullmatch(
            f"{re.escape(str(path))} [^\n]*({refusal})[^\n]*", result["error"] or ""
        )
        assert result["seconds"] < SECONDS, path.name
        assert result["megabytes"] < MEGABYTES, path.name
    assert sorted(tmp_path.iterdir()) == sorted(expected)


def test_the_files_that_run_code_would_have_done_so(tmp_path: Path) -> None:
    content = pickle.dumps(Touch(tmp_path / "sentinel"))

    pickle.loads(content)

    assert (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_take_the_memory_of_their_file_once_at_most(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "large.pt"
    content = {f"{i}": torch.ones(5 * 2**20) for i in range(10)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)

    (result,) = read([path])

    assert result["error"] is None
    assert result["megabytes"] < (20 if zipped else 240)


def test_tensors_of_safetensors_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    save_file({f"{i}": torch.ones(5 * 2**20) for i in range(10)}, path)

    (result,) = read([path])

    assert result["error"] is None
    assert result["megabytes"] < 20
