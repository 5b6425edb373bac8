"""The files of a dataset in a folder that anybody may have made: regular files below it, and no links."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from faceloom.datasets.files import MAX_PICTURE, Read, read_at_most

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe would wait for somebody to write into it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FolderFiles:
    """See `Files`.

    Args:
        root: The folder; it may itself be a link, which is the reader's own.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, path: str) -> BinaryIO:
        """A file below the folder.

        Each name is opened in the folder that was opened before it, so that nobody can put a link in between.
        """
        *folders, name = path.split("/")
        handle = os.open(self.root, _FOLDER)
        try:
            for folder in folders:
                inner = _opened(folder, _FOLDER | os.O_NOFOLLOW, handle)
                os.close(handle)
                handle = inner
            file = _opened(name, _FILE, handle)
        finally:
            os.close(handle)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ValueError("it is no regular file")
        return os.fdopen(file, "rb")

    def read(self, path: str, ordinal: int) -> bytes:
        """A picture."""
        with self.open(path) as file:
            return read_at_most(file, MAX_PICTURE)

    def by_shard(self, faces: Iterable[tuple[int, int]]) -> Iterator[tuple[Iterable[int], Read]]:
        """See `Files`. Here every face has files of its own."""
        return (([mark], self.read) for _, mark in faces)


def _opened(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        except OSError:
            raise error from None
        if stat.S_ISLNK(mode):
            raise ValueError("links are not followed") from None
        raise
