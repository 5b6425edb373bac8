"""Executors by name. A new one is a file beside this one, and a line here."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from faceloom.core.errors import UsageError

if TYPE_CHECKING:
    from faceloom.builds.executors.executor import Executor
    from faceloom.clients.client import Faceloom

LOCAL = "local"


# Imported when it is chosen: commands list the names where nothing that a build needs is installed.
def _local(faceloom: "Faceloom") -> "Executor":
    from faceloom.builds.executors.local import LocalExecutor

    return LocalExecutor(faceloom)


def _kubernetes(faceloom: "Faceloom") -> "Executor":
    from faceloom.builds.executors.kubernetes import in_cluster

    return in_cluster(faceloom)


EXECUTORS: dict[str, "Callable[[Faceloom], Executor]"] = {
    LOCAL: _local,
    "kubernetes": _kubernetes,
}


def executor(name: str, faceloom: "Faceloom") -> "Executor":
    """The executor of that name, over these model services.

    Raises:
        UsageError: There is none, or it cannot be used here.
    """
    if name not in EXECUTORS:
        raise UsageError(f"there is no executor {name!r}; choose one of {', '.join(EXECUTORS)}")
    return EXECUTORS[name](faceloom)
