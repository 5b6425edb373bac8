"""Finds room for a whole stack's ports."""

import random
import socket
from collections.abc import Iterable

from faceloom.runtime.errors import FaceloomError

_TRIES = 50


def free_offset(ports: Iterable[int]) -> int:
    """A number that, added to all of these ports, gives ports that are free on loopback now.

    Raises:
        FaceloomError: None was found; something holds an unusual number of ports.
    """
    wanted = list(ports)
    for _ in range(_TRIES):
        offset = random.randrange(100, 65_000 - max(wanted))
        if all(_free(port + offset) for port in wanted):
            return offset
    raise FaceloomError("found no free ports for a stack; give --port-offset")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
