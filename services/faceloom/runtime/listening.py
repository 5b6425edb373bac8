"""Addresses to listen on: what they mean, whether they can be had, and who has them."""

import contextlib
import errno
import os
import socket
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from faceloom.core.errors import FaceloomError, UsageError

LOOPBACK = "127.0.0.1"
# Everything that a person wants to read of a command line.
_COMMAND_LETTERS = 80
# How often a port that the system chose for one address may turn out to be taken at the next.
_TRIES = 10
# What this machine's IPv6, or an address of it that is not there, answers.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `0.0.0.0:50051`, `localhost:50051`, `[::1]:50051` or `:50051`.

    Raises:
        UsageError: It is none of these.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or (":" in bare) != bracketed or not port.isascii() or not port.isdecimal():
        raise UsageError(
            f"{address}: give HOST:PORT, for example 127.0.0.1:50051, [::1]:50051 or :50051"
        )
    if int(port) > 65535:
        raise UsageError(f"{address}: ports end at 65535")
    return bare, int(port)


def join_address(host: str, port: int) -> str:
    """Host and port as URLs and gRPC write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address that the host has, all on one port.

    Args:
        host: A name or an address of this machine; empty for all there are.
        port: 0 for one that the system chooses.

    Raises:
        FaceloomError: The host is not known or not this machine, or somebody listens there.
    """
    found = _addresses(host, port)
    for left in reversed(range(_TRIES if port == 0 else 1)):
        sockets: list[socket.socket] = []
        try:
            _open(found, port, sockets)
            return sockets
        except OSError as error:
            for one in sockets:
                one.close()
            if error.errno != errno.EADDRINUSE or not left:
                raise _refusal(host, port, error) from None
    raise AssertionError("the last try raises")


def check_can_listen(host: str, port: int) -> None:
    """Makes sure that a server can listen there.

    Raises:
        FaceloomError: As `open_sockets`.
    """
    for one in open_sockets(host, port):
        one.close()


def is_free(port: int) -> bool:
    """Whether a server on loopback can have that port now."""
    try:
        _listening(socket.AF_INET, (LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def check_free(ports: Iterable[int]) -> None:
    """Makes sure that servers on loopback can have all of these ports.

    Raises:
        FaceloomError: One is taken; says by whom.
    """
    for port in ports:
        if not is_free(port):
            raise FaceloomError(f"{in_use(port)}; stop it, or give another --port-offset")


def in_use(port: int) -> str:
    """Says of a port that is not free who has it, as far as that can be read."""
    return f"port {port} is in use{_named(_holder(port))}"


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise FaceloomError(
            f"cannot listen on {join_address(host, port)}: no address is known for {host}; give"
            " localhost, or an address of this machine"
        ) from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _open(found: Sequence[tuple[int, Any]], port: int, sockets: list[socket.socket]) -> None:
    """Adds a socket per address, all on the port of the first."""
    for family, address in found:
        try:
            one = _listening(family, (address[0], port, *address[2:]))
        except OSError as error:
            # `localhost` has an IPv6 address also where IPv6 is off.
            if error.errno in _NOT_HERE and len(found) > 1:
                continue
            raise
        sockets.append(one)
        port = one.getsockname()[1]
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def _listening(family: int, address: Any) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As servers do: connections that ended a moment ago do not count.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen()
    except BaseException:
        one.close()
        raise
    return one


def _refusal(host: str, port: int, error: OSError) -> FaceloomError:
    holder = _named(_holder(port)) if error.errno == errno.EADDRINUSE else ""
    # Not the error's own words: asyncio and the system differ in them.
    cause = os.strerror(error.errno) if error.errno else str(error)
    return FaceloomError(f"cannot listen on {join_address(host, port)}: {cause}{holder}")


def _holder(port: int) -> tuple[int, Sequence[str]] | None:
    """Process and command line of whoever has the port; None where that may not be read."""
    try:
        # Not at the top: fronts are installed without it.
        import psutil
    except ModuleNotFoundError:
        return None
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.pid and one.laddr and one.laddr.port == port:
                return one.pid, psutil.Process(one.pid).cmdline() or ["?"]
    return None


def _named(holder: tuple[int, Sequence[str]] | None) -> str:
    if holder is None:
        return ""
    process, command = holder
    if "faceloom.cli.main" in command:
        command = ["faceloom", *command[command.index("faceloom.cli.main") + 1 :]]
    elif "org.pytorch.serve.ModelServer" in command:
        command = ["TorchServe"]
    text = textwrap.shorten(" ".join(command), _COMMAND_LETTERS, placeholder=" …")
    hint = "; another faceloom up?" if command[0] in ("faceloom", "TorchServe") else ""
    return f" by process {process} ({text}{hint})"
