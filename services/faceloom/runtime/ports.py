"""Which ports a stack listens on. Stacks with different offsets share none.

Services and TorchServe move up by the offset, metrics move down by it: the three lie in ranges that never
meet. Within a range, ports of two stacks are at least 20 apart.
"""

import random
from collections.abc import Iterable

from faceloom.core.errors import FaceloomError, UsageError
from faceloom.runtime.listening import is_free

# What is added to a service's port to have that of its metrics, in a stack whose offset is 0.
_METRICS = -1000
_STEP = 20
# Services have ports up to 50069, a step from the pipeline's 50050.
_LARGEST = 15_460
_TRIES = 50


def check_offset(offset: int) -> int:
    """The offset, if stacks may have it.

    Raises:
        UsageError: It is not one of 0, 20, 40 .. 15460.
    """
    if offset % _STEP or not 0 <= offset <= _LARGEST:
        raise UsageError(
            f"--port-offset {offset}: give a multiple of {_STEP} from 0 to {_LARGEST}, here or in"
            " FACELOOM_PORT_OFFSET, so that no two stacks share a port"
        )
    return offset


def metrics_port(port: int, offset: int) -> int:
    """Where the process shows its metrics that would listen on `port`, were the offset 0."""
    return port + _METRICS - offset


def free_offset(own: Iterable[int], private: Iterable[int]) -> int:
    """An offset at which a stack's ports are free now.

    Args:
        own: The ports of its services at offset 0, which show metrics as well.
        private: Other ports that move up by the offset.

    Raises:
        FaceloomError: None was found; something holds an unusual number of ports.
    """
    own, private = list(own), list(private)
    for _ in range(_TRIES):
        offset = random.randrange(100, _LARGEST + 1, _STEP)
        wanted = [port + offset for port in [*own, *private]]
        wanted += [metrics_port(port, offset) for port in own]
        if all(map(is_free, wanted)):
            return offset
    raise FaceloomError("found no free ports for a stack; give --port-offset")
