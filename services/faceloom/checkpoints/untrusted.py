"""Files that nobody vouches for, read as data: nothing in them is ever executed.

A file is mapped into memory. Its pickles may build containers, numbers, strings, tensors and arrays, and call
stand-ins from a list, and nothing else. They have a budget of steps, and of memory as large as the file.
"""

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faceloom.checkpoints.safe_globals import Attributes, Record, Refusal, StandIn, array_stand_ins
from faceloom.checkpoints.safetensors_file import is_safetensors, read_safetensors
from faceloom.checkpoints.torch_file import (
    LEGACY_MAGIC,
    ZIP_MAGIC,
    read_torch_file,
    tensor_stand_ins,
)
from faceloom.checkpoints.unpickling import Budget, Tape, Unpickler
from faceloom.core.errors import FaceloomError

__all__ = [
    "Attributes",
    "Record",
    "Refusal",
    "RefusedFile",
    "StandIn",
    "map_file",
    "read_checkpoint",
    "read_pickle",
    "refusing",
]

_PICKLE_MAGIC = b"\x80"
# Downloads that went wrong, and formats that are mistaken for one another.
_KNOWN = {
    b"<": "a web page; the download failed, fetch it again in a browser",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with 'git lfs pull'",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"{": "text in JSON; what lies in several files beside it has to be joined into one first",
    b"\x89HDF": "an HDF5 file, as Keras writes",
    b"\x03\0\0\0\1\0\0\0": "a Torch7 file",
    ZIP_MAGIC: "a zip file, as torch.save writes",
    LEGACY_MAGIC: "what torch.save wrote before PyTorch 1.6",
    _PICKLE_MAGIC: "a plain pickle",
}
_LONGEST_REASON = 200


class RefusedFile(FaceloomError):
    """A file is not what it should be, or asks for more than to be read; one line says which file and why."""


def read_checkpoint(path: Path) -> Any:
    """What torch.save or safetensors wrote; its content says which, not its name.

    torch.save writes dicts, lists, numbers, strings and tensors; an `argparse.Namespace` is a dict.
    safetensors writes tensors by name, in one dict. Tensors lie in the file, which is mapped into memory;
    they are copies where the file is older than PyTorch 1.6. Changing them does not change the file.

    Raises:
        RefusedFile: There is no such file, it is damaged, or it asks for anything but data.
    """
    with refusing(path):
        file = map_file(path)
        if is_safetensors(file):
            return read_safetensors(path, file)
        _check_begin(file, "a PyTorch checkpoint or safetensors file", ZIP_MAGIC, LEGACY_MAGIC)
        return read_torch_file(file, Budget(len(file)))


def read_pickle(
    path: Path, stand_ins: Mapping[tuple[str, str], Callable[..., Any]], encoding: str = "ASCII"
) -> Any:
    """A plain pickle, with stand-ins for the classes and functions that it names.

    Numbers, strings, containers, numpy arrays of numbers and tensors need none. Long byte strings come as
    memoryviews of the file.

    Args:
        path: The file.
        stand_ins: What is called in the place of each (module, name). Only objects of a `StandIn` class are
            given a state; `Attributes` and `Record` are two. Arguments are a stranger's: a stand-in must not
            hash, compare or walk through them.
        encoding: Of Python 2's strings.

    Raises:
        RefusedFile: There is no such file, it is damaged, or it asks for anything but data.
    """
    with refusing(path):
        file = map_file(path, "a pickle", _PICKLE_MAGIC)
        budget = Budget(len(file))
        tape = Tape(memoryview(file), budget)
        known = tensor_stand_ins(budget) | array_stand_ins(budget.allocate) | dict(stand_ins)
        return Unpickler(tape, known, encoding=encoding).load()


def map_file(path: Path, kind: str = "", *magic: bytes) -> mmap.mmap:
    """A file in memory; changes of that memory do not reach the file.

    Args:
        path: The file.
        kind: What it should be, for example "a pickle".
        magic: How files of that kind may begin; anything goes if there is none.

    Raises:
        RefusedFile: There is no such file, or it is of another kind.
    """
    with refusing(path):
        if not path.is_file():
            raise Refusal("is not a file" if path.exists() else "does not exist")
        if path.stat().st_size == 0:
            raise Refusal("is empty")
        with path.open("rb") as opened:
            file = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
        if magic:
            _check_begin(file, kind, *magic)
        return file


def _check_begin(file: mmap.mmap, kind: str, *magic: bytes) -> None:
    head = file[:32]
    if head.startswith(magic):
        return
    known = [name for begin, name in _KNOWN.items() if head.lstrip().startswith(begin)]
    if is_safetensors(file):
        known = ["a safetensors file"]
    what = known[0] if known else "begins with " + head[:8].hex(" ")
    raise Refusal(f"is not {kind}, but {what}")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Whatever goes wrong in the reading of a file is the file's fault.

    Raises:
        RefusedFile: Anything was raised.
    """
    try:
        yield
    except RefusedFile:
        raise
    except Refusal as refusal:
        raise RefusedFile(f"{path} {_line(str(refusal))}") from None
    except Exception as error:
        # Damaged bytes, or hostile ones, can fail in any way.
        fault = f"{type(error).__name__}: {error}"
        raise RefusedFile(f"{path} is damaged: {_line(fault)}") from error


def _line(reason: str) -> str:
    # Names come from the file, and could hold anything that a terminal acts on.
    return "".join(sign if sign.isprintable() else "?" for sign in reason[:_LONGEST_REASON])
