"""Pickles as data: an unpickler that calls nothing but stand-ins, and stops when a file costs too much."""

import mmap
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from faceloom.checkpoints.safe_globals import (
    LONGEST_TEXT,
    LongText,
    Refusal,
    StandIn,
    StandIns,
    check_key,
    fill_array,
    keyed,
)

T = TypeVar("T")

# A trainer's checkpoint with its optimizer takes up to a third of it.
_STEPS = 500_000
_CHARACTERS_PER_STEP = 64
_LONGEST_NAME = 256

# Of the opcodes that picklers write from protocol 2 on, those that are harmless as they are.
_TAKEN_OVER = (
    "PROTO STOP MARK POP POP_MARK BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE NONE NEWTRUE NEWFALSE"
    " BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE8 BINSTRING"
    " SHORT_BINSTRING SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST EMPTY_DICT"
    " EMPTY_SET GLOBAL STACK_GLOBAL BINPERSID"
)


class Budget:
    """What reading one file may cost: steps, and memory up to the file's own size."""

    def __init__(self, size: int) -> None:
        self._steps = _STEPS
        self._bytes = size

    def spend(self, steps: int) -> None:
        """Takes steps.

        Raises:
            Refusal: None are left.
        """
        self._steps -= steps
        if self._steps < 0:
            raise Refusal("has far more entries than a checkpoint")

    def allocate(self, size: int) -> None:
        """Takes memory for data of the file.

        Raises:
            Refusal: That is more than the file holds.
        """
        self._bytes -= size
        if self._bytes < 0:
            raise Refusal("claims more data than it holds")


class Tape:
    """Bytes of a file, read from front to back."""

    def __init__(self, data: memoryview, budget: Budget) -> None:
        self.budget = budget
        self._data = data
        self._position = 0

    def read(self, count: int) -> bytes:
        """The next bytes."""
        data = self.view(count)
        self.budget.spend(1 + count // _CHARACTERS_PER_STEP)
        return bytes(data)

    def view(self, count: int) -> memoryview:
        """The next bytes, not copied.

        Raises:
            Refusal: The file ends before.
        """
        end = self._position + count
        if end > len(self._data):
            raise Refusal("is cut off")
        data = self._data[self._position : end]
        self._position = end
        return data

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._position == len(self._data)

    def forget(self) -> None:
        """Takes what was read out of this process's memory, where it would count beside its copies."""
        file = self._data.obj
        if isinstance(file, mmap.mmap):
            file.madvise(mmap.MADV_DONTNEED)

    def readline(self) -> bytes:
        """The next line, which is a name."""
        ahead = bytes(self._data[self._position : self._position + _LONGEST_NAME])
        return self.read(ahead.index(b"\n") + 1)


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names; what takes its place is out of the pickle's reach."""

    stand_in: Any


class _Dispatch(dict[int, Callable[[Any], None]]):
    def __missing__(self, opcode: int) -> Callable[[Any], None]:
        raise Refusal(f"has pickle opcode {opcode:#04x}, which checkpoints do not need")


class Unpickler(pickle._Unpickler):
    """The standard library's unpickler, but for all that makes or changes objects. It is the one in Python:
    the one in C cannot be stopped, and hashes whatever it is given.

    Args:
        tape: Where the pickle begins.
        stand_ins: What is called in the place of each global.
        persistent_load: Finds the objects that are outside of the pickle.
        encoding: Of Python 2's strings.
    """

    # The base class has no types for these.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        tape: Tape,
        stand_ins: StandIns,
        persistent_load: Callable[[Any], Any] | None = None,
        encoding: str = "ASCII",
    ) -> None:
        super().__init__(tape, encoding=encoding)
        self._tape = tape
        self._stand_ins = stand_ins
        self._persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Global:
        """What is called in the place of a global.

        Raises:
            Refusal: Nothing is.
        """
        if (module, name) not in self._stand_ins:
            raise Refusal(f"asks for {module}.{name}; only data is read")
        return Global(self._stand_ins[module, name])

    def persistent_load(self, pid: Any) -> Any:
        """An object that is outside of the pickle."""
        if self._persistent_load is None:
            raise Refusal("refers to data outside of itself")
        return self._persistent_load(pid)

    def load_frame(self) -> None:
        # Frames only say how much to read ahead.
        self._tape.read(8)

    def load_binbytes(self) -> None:
        self.append(self._tape.view(int.from_bytes(self._tape.read(4), "little")))

    def load_binbytes8(self) -> None:
        self.append(self._tape.view(int.from_bytes(self._tape.read(8), "little")))

    def load_binunicode(self) -> None:
        length = int.from_bytes(self._tape.read(4), "little")
        if length > LONGEST_TEXT:
            self.append(LongText(self._tape.view(length)))
        else:
            self.append(str(self._tape.read(length), "utf-8", "surrogatepass"))

    def load_next_buffer(self) -> None:
        raise Refusal("keeps its data in other files (out-of-band buffers); save it without them")

    def load_append(self) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._top(list).extend(items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        self._top(set).update(map(check_key, items))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict)[check_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._top(dict).update(keyed(zip(items[::2], items[1::2], strict=True)))

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or not callable(function.stand_in):
            raise Refusal("calls what is not a function")
        if type(arguments) is not tuple:
            raise Refusal("calls a function without a list of arguments")
        self._pay(arguments)
        self.append(function.stand_in(*arguments))

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        self._pay((state,))
        if isinstance(target, StandIn):
            target.__setstate__(state)
        elif type(target) is np.ndarray:
            self._tape.budget.allocate(len(state[-1]))
            fill_array(target, state)
            self._tape.forget()
        elif type(target) is not dict:
            # That of a dict is dropped: PyTorch keeps version numbers of modules there.
            raise Refusal(f"sets the state of a {type(target).__name__}")

    def _top(self, kind: type[T]) -> T:
        target = self.stack[-1]
        if not isinstance(target, kind):
            raise Refusal(f"fills a {type(target).__name__} as if it were a {kind.__name__}")
        return target

    def _pay(self, arguments: tuple[Any, ...]) -> None:
        # A stand-in may copy what it is given, and the same list can be given many times.
        copied = [item for item in arguments if isinstance(item, tuple | list | dict | set | str)]
        self._tape.budget.spend(len(arguments) + sum(map(len, copied)))

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = _Dispatch(
        {
            code: pickle._Unpickler.dispatch[code]
            for code in (getattr(pickle, name)[0] for name in _TAKEN_OVER.split())
        }
        | {
            pickle.FRAME[0]: load_frame,
            pickle.BINBYTES[0]: load_binbytes,
            pickle.BINBYTES8[0]: load_binbytes8,
            pickle.BYTEARRAY8[0]: load_binbytes8,
            pickle.NEXT_BUFFER[0]: load_next_buffer,
            pickle.BINUNICODE[0]: load_binunicode,
            pickle.APPEND[0]: load_append,
            pickle.APPENDS[0]: load_appends,
            pickle.ADDITEMS[0]: load_additems,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.REDUCE[0]: load_reduce,
            pickle.NEWOBJ[0]: load_reduce,
            pickle.BUILD[0]: load_build,
        }
    )
