"""Folders that are changed although somebody else may have made them: nothing in them leads elsewhere.

A link in a folder that was unpacked, or that another user put there, must not make us write or remove what
lies beyond it. Names are looked up in an open folder (openat), so nobody can put a link in between.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faceloom.core.errors import UsageError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def real_folder(parent: Path, name: str) -> Iterator[int]:
    """A handle of the folder of that name in another one, for `dir_fd`; it is made if it is missing.

    Raises:
        UsageError: There is a link, or something else.
    """
    above = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=above)
        try:
            handle = os.open(name, _FOLDER, dir_fd=above)
        except NotADirectoryError:
            raise UsageError(f"{parent / name} is a link or a file; it must be a folder") from None
    finally:
        os.close(above)
    try:
        yield handle
    finally:
        os.close(handle)


def check_real(folder: Path, names: tuple[str, ...]) -> None:
    """Makes sure that a folder is ours, and that none of those in it is a link.

    Raises:
        UsageError: It belongs to another user, who could change it at any moment, or one is a link.
    """
    for name in names:
        if (folder / name).is_symlink():
            raise UsageError(f"{folder / name} is a link; a build writes into its own folder alone")
    try:
        owner = folder.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return
    if hasattr(os, "geteuid") and owner not in (os.geteuid(), 0):
        raise UsageError(f"{folder} belongs to another user ({owner}); choose a folder of your own")
