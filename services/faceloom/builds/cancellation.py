"""How work ends early: no thread is left alone with files, and causes keep their names."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from faceloom.core.errors import FaceloomError, FailedPrecondition
from faceloom.datasets.place import Output

T = TypeVar("T")


async def to_end(work: Callable[..., T], *arguments: object) -> T:
    """Runs work that touches files in a thread. Whoever is cancelled waits for it, then is cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def first_cause(error: BaseException) -> BaseException:
    """What went wrong first; of several at once, what we raised on purpose explains the most."""
    if isinstance(error, BaseExceptionGroup):
        error = error.subgroup(FaceloomError) or error
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def one_cause(output: Output) -> Iterator[None]:
    """Lets out the first cause alone of what goes wrong while a build's place is worked on.

    Raises:
        FailedPrecondition: The system would not let the folder be written.
    """
    try:
        yield
    except BaseException as error:
        cause = first_cause(error)
        if isinstance(cause, OSError):
            # What goes to an object store is made in a temporary folder.
            folder = output if isinstance(output, Path) else tempfile.gettempdir()
            raise FailedPrecondition(
                f"cannot write to {folder}: {cause.strerror}", reason="CANNOT_WRITE"
            ) from cause
        raise cause from None
