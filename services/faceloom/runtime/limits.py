"""What the machine allows a process: open files and memory."""

from collections.abc import Iterator
from pathlib import Path

from faceloom.core.errors import FaceloomError

# Java opens 70 and some more per connection.
_FILES_NEEDED = 128
_FILES_WANTED = 4096
_MEGABYTE = 2**20
# What Java reserves of them, far more than it uses: 2.8 GB when TorchServe is ready.
_ADDRESSES_NEEDED = 3000 * _MEGABYTE
# Cgroups without a limit have a number near 2**63.
_UNLIMITED = 2**60


def raise_file_limit() -> None:
    """Lets this process and its children open as many files as they may, up to 4096.

    Raises:
        FaceloomError: That is too few.
    """
    # Not at the top: Windows has none.
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FILES_WANTED:
        return
    allowed = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if allowed < _FILES_NEEDED:
        raise FaceloomError(
            f"a process may open {hard} files here, and TorchServe needs {_FILES_NEEDED}: raise the"
            f" limit with ulimit -n {_FILES_NEEDED}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def check_memory(needed: int) -> None:
    """Makes sure that there are that many bytes of memory, and addresses enough for Java.

    Raises:
        FaceloomError: There are fewer; the message has both numbers.
    """
    _check_addresses()
    available = available_memory()
    if available is not None and available < needed:
        raise FaceloomError(
            f"too little memory: {available // _MEGABYTE} MB are available and"
            f" {needed // _MEGABYTE} MB are needed; end other programs, or serve fewer models"
        )


def _check_addresses() -> None:
    # Not at the top: Windows has none.
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESSES_NEEDED:
        raise FaceloomError(
            f"a process may have {limit // _MEGABYTE} MB of addresses here, and TorchServe needs"
            f" {_ADDRESSES_NEEDED // _MEGABYTE}: raise the limit with ulimit -v unlimited"
        )


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that processes may still take, swap included; None where the system does not say.

    Args:
        root: Where `proc` and `sys` are.
    """
    limits = [*_machine(root), *_cgroups(root)]
    return max(0, min(limits)) if limits else None


def _machine(root: Path) -> Iterator[int]:
    kilobytes = _numbers(root / "proc/meminfo")
    if "MemAvailable:" in kilobytes:
        yield (kilobytes["MemAvailable:"] + kilobytes.get("SwapFree:", 0)) * 1024


def _cgroups(root: Path) -> Iterator[int]:
    """What is left below the limits of this process's cgroups, of version 2 or 1, and their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = top / path.strip("/")
        # In a container the path is the host's, and what it names is at the top.
        for folder in [own, *own.parents] if own.is_dir() else [top]:
            try:
                allowed = int((folder / limit).read_text())
                taken = int((folder / used).read_text())
            except (OSError, ValueError):
                continue
            if allowed < _UNLIMITED:
                # The kernel gives the cache of files back.
                cache = _numbers(folder / "memory.stat").get("inactive_file", 0)
                yield allowed - taken + cache


def _numbers(file: Path) -> dict[str, int]:
    """The lines `name number` of a file of the kernel's; none when it is not there."""
    try:
        rows = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}
