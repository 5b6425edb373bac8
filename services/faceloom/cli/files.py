"""Files that commands write: whole or not at all, and never over what they read."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from faceloom.cli.inputs import InputFile
from faceloom.core.atomic_files import replacing
from faceloom.core.errors import FaceloomError, UsageError

OutFolderOption = Annotated[
    Path, typer.Option("--out", help="Folder for the results; it is made if it is not there.")
]

# So many names are told of a list that may be long.
_TOLD = 3


def target_files(sources: Sequence[InputFile], out: Path) -> list[Path]:
    """Where each picture's result goes.

    Raises:
        UsageError: `out` is a file, or two results would be written to the same place.
    """
    check_folder(out)
    targets = [out / f"{source.stem}.png" for source in sources]
    counts = Counter(target.name for target in targets)
    twins = sorted(name for name, count in counts.items() if count > 1)
    if twins:
        more = f" and {len(twins) - _TOLD} more" if len(twins) > _TOLD else ""
        raise UsageError(
            f"several files would be written as {', '.join(twins[:_TOLD])}{more} in {out}"
        )
    return targets


def check_folder(out: Path) -> None:
    """Makes sure that results can go into a folder, which need not be there yet.

    Raises:
        UsageError: It is a file.
    """
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"{out} is a file; give a folder for the results")


def refuse_overwriting(
    inputs: Iterable[Path], targets: Iterable[Path], option: str = "--out"
) -> None:
    """Makes sure that nothing which is read is also written, whatever names and links lead to it.

    Args:
        inputs: Files that are read; those that are not there are passed over.
        targets: Files that will be written, there or not.
        option: What to change.

    Raises:
        UsageError: A target is an input.
    """
    known = {identity: file for file in inputs if (identity := _identity(file))}
    for target in targets:
        identity = _identity(target) if known else None
        if identity in known:
            raise UsageError(f"{known[identity]} would be overwritten; give another {option}")


def protect_dataset(dataset: Path, target: Path, *, but: str = "") -> None:
    """Makes sure that a file which is written is none of a dataset's.

    Args:
        dataset: The dataset's folder.
        target: The file, there or not.
        but: The suffix of files that may be replaced even there.

    Raises:
        UsageError: It would replace a file of the dataset.
    """
    inside = target.resolve().is_relative_to(dataset.resolve())
    if inside and os.path.exists(target) and not (but and target.suffix == but):
        raise UsageError(f"{target} of the dataset would be overwritten; give another --out")


def _identity(file: Path) -> tuple[int, int] | None:
    """The file that a name leads to, on its device; none if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A file that is there whole when the block ends, or not at all; its folder is made. Of several processes
    that write it, the last one wins.

    Raises:
        FaceloomError: It cannot be written there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as new, new.open("xb") as file:
            yield file
    except OSError as error:
        raise FaceloomError(f"cannot write {target}: {error.strerror or error}") from None


def write_file(target: Path, data: bytes) -> str:
    """Writes a file whole or not at all; answers with its name.

    Raises:
        FaceloomError: It cannot be written there.
    """
    with new_file(target) as file:
        file.write(data)
    return str(target)
