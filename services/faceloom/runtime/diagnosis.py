"""Says in a few words why a process ended, from the last lines of its log."""

import re
import signal
from collections.abc import Sequence
from typing import Any

from faceloom.core.wording import shortened

# The cause of a Java exception, and what Java's crash handler begins with.
_CAUSED_BY = re.compile(
    r"(?:Caused by: (?:[\w.$]+: )?|#\s+(?=SIG[A-Z]+ |There is insufficient memory))(?P<cause>.+)"
)
_TROUBLE = ("error", "critical")


def why_it_died(said: Sequence[dict[str, Any]], code: int) -> str:
    """The cause of a process's end.

    Args:
        said: Lines of its log, the oldest first.
        code: Its exit code; a negative one is the number of the signal that ended it.
    """
    for event in reversed(said):
        if caused := _CAUSED_BY.match(str(event.get("message", ""))):
            return shortened(caused["cause"])
    for event in reversed(said):
        text = str(event.get("message", ""))
        if event.get("level") in _TROUBLE and not text[:1].isspace():
            return shortened(text)
    if code == -signal.SIGKILL:
        return "killed, maybe for want of memory"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
