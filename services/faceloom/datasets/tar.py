"""A shard's files as one object: an uncompressed tar whose bytes follow from them."""

import tarfile
from collections.abc import Iterable
from pathlib import Path


def pack(folder: Path, files: Iterable[str], target: Path) -> None:
    """Writes a tar of those files: sorted by name, nobody's, of no time."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size = (folder / path).stat().st_size
            with (folder / path).open("rb") as file:
                tar.addfile(member, file)


def unpack(source: Path, folder: Path) -> None:
    """Brings the files of a tar into a folder, as far as it can be read."""
    try:
        with tarfile.open(source, "r:") as tar:
            for member in tar:
                if member.isreg():
                    tar.extract(member, folder, filter="data")
    except tarfile.TarError:
        # What is missing now is found by who knows what should be there.
        return
