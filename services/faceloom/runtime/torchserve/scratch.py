"""Where TorchServe writes: Unix sockets get their names there, and Java loads libraries from there.

Who makes a folder here holds a lock on it, which ends with the process. What a killed process left is known
by its lock: nobody has it, and whoever makes the next folder removes it.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faceloom.core.errors import UsageError

# A Unix socket's name has 107 bytes.
_LONGEST_SOCKET = 107
_SOCKET = "tmp/.ts.sock.65535"
# What is below the folder that `TMPDIR` names.
_BELOW = f"/faceloom-12345678/ts/{_SOCKET}"
_PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
_ELSEWHERE = ("/tmp", "/var/tmp")
_PREFIX = "faceloom-"
# Written when the lock is held: other folders of that prefix are not ours to remove.
_LOCKED = ".locked"
_MEGABYTE = 2**20
_LOGS_AND_LIBRARIES = 32 * _MEGABYTE


@contextmanager
def scratch(content: int) -> Iterator[Path]:
    """A new folder whose path is short and plain, as long as the block.

    It is made in `TMPDIR`; where that path is too long, or has other than ASCII letters, in `/tmp` or
    `/var/tmp`.

    Args:
        content: How many bytes are going to be written, without logs and libraries.

    Raises:
        UsageError: What `TMPDIR` names cannot be used, or nothing can.
    """
    place = _place(content)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    lock = os.open(folder, os.O_RDONLY)
    try:
        if _lock(lock):
            (folder / _LOCKED).touch()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def check_socket_path(folder: Path) -> None:
    """Makes sure that TorchServe's sockets have room below a folder.

    Raises:
        UsageError: Its path is too long.
    """
    length = len(os.fsencode(folder / _SOCKET))
    if length > _LONGEST_SOCKET:
        raise UsageError(
            f"--dir {folder}: the path is {length - _LONGEST_SOCKET} bytes too long for Unix sockets"
        )


def _place(content: int) -> Path:
    named = os.environ.get("TMPDIR")
    for possible in {*([named] if named else []), *_ELSEWHERE}:
        _remove_abandoned(Path(possible))
    if named and (problem := _problem(Path(named), content)):
        raise UsageError(f"TMPDIR={named} {problem}; unset it, or name another folder")
    problems = []
    for place in [Path(named).absolute()] if named else []:
        if _is_plain(place):
            return place
        problems.append(f"{place} is too long, or has letters beyond ASCII")
    for place in map(Path, _ELSEWHERE):
        problem = _problem(place, content)
        if not problem:
            return place
        problems.append(f"{place} {problem}")
    raise UsageError(f"TMPDIR must name a folder for temporary files: {', and '.join(problems)}")


def _remove_abandoned(place: Path) -> None:
    """Removes what killed processes of this user left there."""
    for mark in place.glob(f"{_PREFIX}*/{_LOCKED}"):
        with suppress(OSError):
            lock = os.open(mark.parent, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid() and _lock(lock):
                    shutil.rmtree(mark.parent, ignore_errors=True)
            finally:
                os.close(lock)


def _lock(folder: int) -> bool:
    """Takes the lock of an open folder, if nobody has it and its file system knows locks."""
    # Not at the top: Windows has none.
    import fcntl

    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_plain(place: Path) -> bool:
    whole = f"{place}{_BELOW}"
    return len(whole) <= _LONGEST_SOCKET and _PLAIN.fullmatch(whole) is not None


def _problem(place: Path, content: int) -> str:
    """Why nobody can use a folder; empty when it is fit."""
    try:
        probe = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    try:
        (probe / "probe").write_bytes(bytes(4096))
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    system = os.statvfs(place)
    if system.f_flag & os.ST_NOEXEC:
        return "is mounted noexec, and Java loads libraries from there"
    free, needed = system.f_bavail * system.f_frsize, content + _LOGS_AND_LIBRARIES
    if free < needed:
        return f"has {free // _MEGABYTE} MB free, and {needed // _MEGABYTE} MB are needed"
    return ""
