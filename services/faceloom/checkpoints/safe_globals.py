"""What takes the place of the classes and functions that pickled checkpoints name. Nothing here runs code of
a file's choosing, and nothing takes more time or memory than its arguments account for."""

import math
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

StandIns: TypeAlias = dict[tuple[str, str], Any]
Allocate: TypeAlias = Callable[[int], None]

# Numbers below this have hashes of their own; larger ones can be made to collide.
_LARGEST_KEY = 2**60
_MOST_LENGTHS = 64
# Of what is read at once, words and names.
LONGEST_TEXT = 4096
_DTYPES = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")


class Refusal(pickle.UnpicklingError):
    """What is wrong with a file, as the rest of a sentence that its name begins."""


class StandIn(ABC):
    """An object whose state a pickle may set."""

    @abstractmethod
    def __setstate__(self, state: Any) -> None:
        """Take the state."""


class Record(StandIn):
    """An object of a class that is not here: the arguments it was made with, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Attributes(dict[str, Any], StandIn):
    """An object that is nothing but its attributes, for example an `argparse.Namespace`."""

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.update(keyed(state.items()))


class _Dtype(StandIn):
    """A numpy dtype of plain numbers. Real ones could have any state set, Python objects included."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(code, str) or code not in _DTYPES:
            raise Refusal("holds numpy data other than plain numbers")
        self.dtype = np.dtype(f"<{code}")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|", "="):
            raise Refusal("holds numbers in big-endian order")


class LongText:
    """A text of more than LONGEST_TEXT bytes as it lies in the file: source code, or protocol 2's numbers."""

    def __init__(self, utf8: memoryview) -> None:
        self._utf8 = utf8

    @cached_property
    def latin1(self) -> bytes:
        """The bytes that it stands for; made once, so that all of them together are no more than the file."""
        return str(self._utf8, "utf-8").encode("latin1")


def keyed(items: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict with keys that are cheap to hash, which nested tuples need not be.

    Raises:
        Refusal: A key is neither a string nor a small whole number.
    """
    return {check_key(key): value for key, value in items}


def check_key(key: Any) -> Any:
    """The key, if it is cheap to hash; see `keyed`."""
    if type(key) is str or (type(key) is int and abs(key) < _LARGEST_KEY):
        return key
    raise Refusal("has a key that is neither a string nor a small number")


def check_shape(shape: tuple[Any, ...]) -> None:
    """Makes sure that these are lengths of a tensor's dimensions, or steps along them.

    Raises:
        Refusal: They are not, or far too many.
    """
    if len(shape) > _MOST_LENGTHS or any(type(n) is not int or n < 0 for n in shape):
        raise Refusal("holds a tensor of an impossible shape")


def fill_array(array: np.ndarray[Any, Any], state: Any) -> None:
    """Sets the state of an empty array.

    Raises:
        Refusal: The array is not one of plain numbers.
    """
    _, shape, dtype, fortran, data = state
    if type(dtype) is not _Dtype or type(data) not in (bytes, memoryview):
        raise Refusal("holds numpy data other than plain numbers")
    check_shape(shape)
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise Refusal("holds an array whose shape is not that of its data")
    plain: Any = (1, shape, dtype.dtype, fortran is True, bytes(data))
    array.__setstate__(plain)


def _array(*_: Any) -> np.ndarray[Any, Any]:
    return np.empty(0)


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    (number,) = np.frombuffer(data, dtype.dtype, 1)
    return number.item()


def _ordered_dict(items: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:
    return keyed(items)


def _set(items: list[Any]) -> set[Any]:
    if type(items) is not list:
        raise Refusal("makes a set of what is not a list")
    return {check_key(item) for item in items}


def _encode(text: Any, encoding: Any) -> bytes:
    if type(text) not in (str, LongText) or encoding != "latin1":
        raise Refusal("holds text in an encoding that is not for bytes")
    return text.latin1 if isinstance(text, LongText) else text.encode("latin1")


def _from_buffer(
    allocate: Allocate, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> np.ndarray[Any, Any]:
    """An array as protocol 5 has it: its numbers, and how they are laid out."""
    if type(dtype) is not _Dtype or type(data) not in (bytes, memoryview):
        raise Refusal("holds numpy data other than plain numbers")
    if type(shape) is not tuple or type(order) is not str or type(axes or ()) is not tuple:
        raise Refusal("holds an array that is laid out in an unknown way")
    check_shape(shape)
    check_shape(axes or ())
    allocate(len(data))
    flat = np.frombuffer(data, dtype.dtype).copy()
    if order == "K" and axes is not None:
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def array_stand_ins(allocate: Allocate) -> StandIns:
    """The stand-ins for pickles that hold arrays as protocol 5 has them.

    Args:
        allocate: Is told of all bytes that are copied, and stops what goes too far.
    """
    return {
        (module, "_frombuffer"): partial(_from_buffer, allocate)
        for module in ("numpy.core.numeric", "numpy._core.numeric")
    }


_NUMPY: Mapping[str, Callable[..., Any]] = {"_reconstruct": _array, "scalar": _scalar}

PLAIN: StandIns = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "set"): _set,
    ("argparse", "Namespace"): Attributes,
    ("builtins", "set"): _set,
    ("collections", "OrderedDict"): _ordered_dict,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): Record,
    **{
        (module, name): stand_in
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, stand_in in _NUMPY.items()
    },
}
