"""Files that survive: written whole or not at all, and on the disk before anybody relies on them."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a filesystem says that has no second names for files, or no more of them.
_NO_LINK = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file under, which takes the place of `path` when the block ends.

    It is whole then, and on the disk. After an error the old file is there as it was. Of several who write
    at once the last one wins. Who is killed leaves a file `.new-*`.
    """
    with _beside(path) as new:
        yield new
        sync_file(new)
        new.replace(path)
    sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Puts a file in place whole, whatever happens in between, and onto the disk."""
    with replacing(path) as new:
        new.write_bytes(data)


def write_once(path: Path, data: bytes) -> None:
    """Puts a file in place whole and onto the disk, unless there is one: of many who try, the first wins.

    Where files have no second names the last one wins.
    """
    with _beside(path) as new:
        new.write_bytes(data)
        sync_file(new)
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            new.replace(path)
    sync_folder(path.parent)


def link_or_copy(source: Path, target: Path | str, folder: int | None = None) -> None:
    """Gives a file a second name, or a copy where the filesystem has no second names.

    Args:
        source: The file.
        target: Its second name, which nothing has yet.
        folder: A handle of the folder that `target` is in.
    """
    try:
        os.link(source, target, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        new = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        with source.open("rb") as old, os.fdopen(new, "wb") as copy:
            shutil.copyfileobj(old, copy)


def sync_file(path: Path) -> None:
    """Waits until a file's bytes are on the disk."""
    _sync(path)


def sync_folder(path: Path) -> None:
    """Waits until the names in a folder are on the disk, on filesystems that can be asked to."""
    try:
        _sync(path)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def files_under(folder: Path) -> set[str]:
    """Paths of all files below a folder, relative to it, with forward slashes."""
    return {
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder)
        for name in names
    }


def take_lock(path: Path, shared: bool = False) -> int:
    """Takes a lock until the answered handle is closed. It is the kernel's: it goes when the process does.

    Raises:
        BlockingIOError: Somebody else has it; a shared one, who has not a shared one.
    """
    # Not at the top: Windows has none, and whoever only reads a dataset does without.
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    new = path.with_name(f".new-{uuid.uuid4().hex}")
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "nt":
        # Windows opens no folders, and flushes no file that is open for reading.
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
