"""Rows of a latents file, read from its header without numpy, of whole files and of broken ones."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from faceloom.datasets.latents import latent_rows

_WRITTEN = save({"w": np.zeros((3, 8), np.float32), "z": np.zeros((2, 4), np.float32)})


def rows_in(data: bytes, folder: Path) -> set[int]:
    file = folder / "latents.safetensors"
    file.write_bytes(data)
    return latent_rows(file)


def test_rows_are_those_that_safetensors_wrote(tmp_path: Path) -> None:
    assert rows_in(_WRITTEN, tmp_path) == {2, 3}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        _WRITTEN[:-1],
        _WRITTEN.replace(b"[3,8]", b"[4,8]"),
        _WRITTEN.replace(b"[3,8]", b"[3.8"),
        _WRITTEN.replace(b"[3,8]", b"24   "),
        save({"w": np.zeros((3, 8), np.float32)}),
    ],
    ids=["empty", "long header", "cut", "more rows", "no JSON", "no shape", "no z"],
)
def test_what_is_broken_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"latents\.safetensors"):
        rows_in(data, tmp_path)
