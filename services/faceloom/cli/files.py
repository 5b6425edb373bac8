"""Files that commands read and write."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from faceloom.common.v1 import image_pb2
from faceloom.runtime.errors import FaceloomError, UsageError

_FORMATS = {
    ".png": image_pb2.IMAGE_FORMAT_PNG,
    ".jpg": image_pb2.IMAGE_FORMAT_JPEG,
    ".jpeg": image_pb2.IMAGE_FORMAT_JPEG,
    ".webp": image_pb2.IMAGE_FORMAT_WEBP,
}

Files = Annotated[list[Path], typer.Argument(help="PNG, JPEG or WebP files.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]


def read_image(file: Path) -> image_pb2.Image:
    """A picture file as a message.

    Raises:
        UsageError: The file is not there, or is of another kind.
    """
    kind = _FORMATS.get(file.suffix.lower())
    if kind is None:
        raise UsageError(f"{file}: give PNG, JPEG or WebP files")
    try:
        return image_pb2.Image(format=kind, data=file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def target_files(files: Sequence[Path], out: Path) -> list[Path]:
    """Where each file's result goes.

    Raises:
        UsageError: `out` is a file, or two files would be written to the same place.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder for the results")
    targets = [out / f"{file.stem}.png" for file in files]
    twins = {target.name for target in targets if targets.count(target) > 1}
    if twins:
        raise UsageError(f"several files would be written as {', '.join(sorted(twins))} in {out}")
    return targets


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A file that is there whole when the block ends, or not at all; its folder is made.

    Raises:
        FaceloomError: It cannot be written there.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        raise FaceloomError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def write_file(target: Path, data: bytes) -> str:
    """Writes a file whole or not at all; answers with its name.

    Raises:
        FaceloomError: It cannot be written there.
    """
    with new_file(target) as file:
        file.write(data)
    return str(target)
