"""Where TorchServe writes: Unix sockets get their names there, and Java loads libraries from there."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from faceloom.core.errors import UsageError

# A Unix socket's name has 107 bytes.
_LONGEST_SOCKET = 107
_SOCKET = "tmp/.ts.sock.65535"
# What is below the folder that `TMPDIR` names.
_BELOW = f"/faceloom-12345678/ts/{_SOCKET}"
_PLAIN = re.compile(r"[\w/.+-]+", re.ASCII)
_ELSEWHERE = ("/tmp", "/var/tmp")
_MEGABYTE = 2**20
_LOGS_AND_LIBRARIES = 32 * _MEGABYTE


def make_scratch(content: int) -> Path:
    """A new folder whose path is short and plain.

    It is made in `TMPDIR`; where that path is too long, or has other than ASCII letters, in `/tmp` or
    `/var/tmp`.

    Args:
        content: How many bytes are going to be written, without logs and libraries.

    Raises:
        UsageError: What `TMPDIR` names cannot be used, or nothing can.
    """
    named = os.environ.get("TMPDIR")
    if named and (problem := _problem(Path(named), content)):
        raise UsageError(f"TMPDIR={named} {problem}; unset it, or name another folder")
    problems = []
    for place in [Path(named).absolute()] if named else []:
        if _is_plain(place):
            return _new(place)
        problems.append(f"{place} is too long, or has letters beyond ASCII")
    for place in map(Path, _ELSEWHERE):
        problem = _problem(place, content)
        if not problem:
            return _new(place)
        problems.append(f"{place} {problem}")
    raise UsageError(f"TMPDIR must name a folder for temporary files: {', and '.join(problems)}")


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


def _new(place: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="faceloom-", dir=place))


def _is_plain(place: Path) -> bool:
    whole = f"{place}{_BELOW}"
    return len(whole) <= _LONGEST_SOCKET and _PLAIN.fullmatch(whole) is not None


def _problem(place: Path, content: int) -> str:
    """Why nobody can use a folder; empty when it is fit."""
    try:
        probe = Path(tempfile.mkdtemp(prefix="faceloom-", dir=place))
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
