"""`projected_w.npz`, which the projector of NVlabs/stylegan2-ada-pytorch writes: the w+ of a photograph."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from faceloom.core.errors import UsageError

# Hundreds of faces of the largest networks.
_LARGEST = 64 * 2**20
_NAME = "w"


def is_archive(file: Path) -> bool:
    """Whether a file is an archive of arrays, as numpy.savez writes, by its first bytes.

    Raises:
        OSError: It cannot be read.
    """
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"


def read_projection(file: Path) -> npt.NDArray[Any]:
    """The array `w` of a .npz file, [N, layers, dim]; compressed or not. Nothing in the file is executed.

    Raises:
        UsageError: It has no such array, or one of more than 64 MB.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if f"{_NAME}.npy" not in archive.namelist():
                raise UsageError(f"{file} has no array {_NAME}, which NVlabs' projector writes")
            with archive.open(f"{_NAME}.npy") as member:
                # The archive's own words on the size are not trusted.
                data = member.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UsageError(
                f"{file} holds more than {_LARGEST >> 20} MB; give fewer latents at a time"
            )
        array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except UsageError:
        raise
    except Exception:
        # zipfile and numpy raise many kinds of errors for damaged files.
        raise UsageError(f"{file} is not a .npz file of numbers") from None
    if array.ndim != 3:
        raise UsageError(f"{file} has {_NAME} of {list(array.shape)}; w+ is [N, layers, dim]")
    return array
