"""How work ends early: no thread is left alone with files, and causes keep their names."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from faceloom.runtime.errors import FaceloomError

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
