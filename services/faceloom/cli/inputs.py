"""Pictures that commands are given: files, folders, or one on standard input."""

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from faceloom.core.errors import UsageError
from faceloom.core.file_kinds import HEAD_BYTES, READ, described, kind_of

FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        # Seen when it is read: it costs that file.
        readable=False,
        help="PNG, JPEG or WebP files, folders of them (their own files, sorted by name, not those of folders"
        " in them), or - for one picture on standard input.",
    ),
]

# No file of a picture is larger; what is not a file has no size to ask for before it is read.
MAX_BYTES: Final = 2**30

_STDIN: Final = Path("-")
_GLOB: Final = "*?["
# What is expected to be a picture in a folder, even if it cannot be read.
_SUFFIXES: Final = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".heic", ".heif", ".avif", ".gif"),
    *(".bmp", ".tif", ".tiff", ".jp2", ".jxl"),
)


@dataclass(frozen=True)
class InputFile:
    """One picture, not read yet.

    Args:
        name: What messages and JSON call it: the path as it was given, or `-`.
        file: Where it is; standard input if there is none.
    """

    name: str
    file: Path | None

    def __str__(self) -> str:
        return self.name

    @property
    def stem(self) -> str:
        """Of its result's name."""
        return self.file.stem if self.file else "stdin"

    def read(self) -> bytes:
        """All of its bytes, if they are a picture's.

        Raises:
            UsageError: It is not there, or is no PNG, JPEG or WebP file.
        """
        try:
            with self._opened() as file:
                head = file.read(HEAD_BYTES)
                if kind_of(head) not in READ:
                    raise UsageError(
                        f"{self.name} is {described(head)}; give PNG, JPEG or WebP files"
                    )
                data = head + file.read(MAX_BYTES - len(head) + 1)
        except OSError as error:
            raise UsageError(f"{self.name}: {error.strerror}") from None
        if len(data) > MAX_BYTES:
            raise UsageError(f"{self.name} has more than {MAX_BYTES // 2**20} MiB")
        return data

    def _opened(self) -> BinaryIO:
        if self.file is None:
            return BytesIO(sys.stdin.buffer.read(MAX_BYTES + 1))
        return self.file.open("rb")


def sources(arguments: Sequence[Path]) -> list[InputFile]:
    """What the arguments of a command stand for, in their order. Whether files are there is seen when they
    are read.

    Raises:
        UsageError: A pattern matches nothing, or a folder has no pictures.
    """
    found: list[InputFile] = []
    # What cannot be looked at is told of as a file when its turn comes; pathlib's own questions would raise.
    for argument in arguments:
        if argument == _STDIN:
            found.append(InputFile("-", None))
        elif os.path.isdir(argument):
            found += [InputFile(str(file), file) for file in _pictures(argument)]
        elif any(sign in str(argument) for sign in _GLOB) and not os.path.lexists(argument):
            raise UsageError(f"no file matches {argument}")
        else:
            found.append(InputFile(str(argument), argument))
    if sum(source.file is None for source in found) > 1:
        raise UsageError("- is the one picture on standard input; give it once")
    return found


def files_of(given: Iterable[InputFile]) -> list[Path]:
    """Those that are files."""
    return [source.file for source in given if source.file is not None]


def _pictures(folder: Path) -> list[Path]:
    """The files of a folder that are pictures by their content, or should be by their names."""
    try:
        files = sorted(file for file in folder.iterdir() if _is_picture(file))
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None
    if not files:
        raise UsageError(f"{folder} is a folder without PNG, JPEG or WebP files")
    return files


def _is_picture(file: Path) -> bool:
    if file.name.startswith("."):
        return False
    named_so = file.suffix.lower() in _SUFFIXES
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return False
        if named_so:
            return True
        with file.open("rb") as opened:
            return kind_of(opened.read(HEAD_BYTES)) in READ
    except OSError:
        return named_so
