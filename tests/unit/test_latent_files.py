"""What `generate --latents` reads: .npy files, and the archives that NVlabs' projector writes."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faceloom.cli.generate import Space, read_latents
from faceloom.core.errors import UsageError
from faceloom.generator.v1 import generator_pb2 as pb

W_PLUS = np.random.RandomState(0).randn(1, 18, 512).astype(np.float32)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_projection_is_w_plus(save: Callable[..., None], tmp_path: Path) -> None:
    save(tmp_path / "projected_w.npz", w=W_PLUS)
    np.save(tmp_path / "w.npy", W_PLUS)

    (latent,) = read_latents(tmp_path / "projected_w.npz", None)

    assert latent.space == pb.LATENT_SPACE_W_PLUS
    assert np.array_equal(latent.values, W_PLUS.ravel())
    assert [latent] == read_latents(tmp_path / "w.npy", None)


def truncated(path: Path) -> None:
    np.savez(path, w=W_PLUS)
    path.write_bytes(path.read_bytes()[:-100])


def foreign(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w.npy", content)

    return write


CLAIM = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000, 512)}".ljust(117)
NO_NPZ = "is not a .npz file of numbers"
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another array": (lambda path: np.savez(path, z=W_PLUS), "has no array w, which NVlabs'"),
    "a part": (truncated, NO_NPZ),
    "objects": (lambda path: np.savez(path, w=np.array([{}], object)), NO_NPZ),
    "a text": (foreign(b"0.1 0.2"), NO_NPZ),
    "a claim": (foreign(b"\x93NUMPY\x01\x00" + b"\x76\x00" + CLAIM + b"\n"), NO_NPZ),
    "a bomb": (
        lambda path: np.savez_compressed(path, w=np.zeros((70, 2**17, 1))),
        "holds more than 64 MB",
    ),
    "rows": (
        lambda path: np.savez(path, w=W_PLUS[0]),
        "has w of [18, 512]; w+ is [N, layers, dim]",
    ),
    "NaN": (lambda path: np.savez(path, w=W_PLUS * np.nan), "holds NaN, infinity or numbers"),
    "numbers": (lambda path: np.savez(path, w=W_PLUS.astype(int)), "holds int64; give float32"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_projection(name: str, tmp_path: Path) -> None:
    write, says = FILES[name]
    path = tmp_path / "projected_w.npz"
    write(path)

    with pytest.raises(UsageError) as caught:
        read_latents(path, None)

    assert str(caught.value).startswith(str(path)) and says in str(caught.value)


def test_the_space_of_a_projection_is_known(tmp_path: Path) -> None:
    np.savez(tmp_path / "projected_w.npz", w=W_PLUS)

    with pytest.raises(UsageError, match="which is w\\+: leave out --space"):
        read_latents(tmp_path / "projected_w.npz", Space.W)
