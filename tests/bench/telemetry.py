"""What metrics, and tracing that is off, cost a front: two before a TorchServe whose model takes no time,
only one of which does either. A front is one thread, so what it can get through follows from its processor
time, which drifts less than the seconds on the clock."""

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceloom.runtime.channel import ChannelCaller
from tests.bench.turns import call_all

PAIRS = 60
CALLS = 500
IN_FLIGHT = 8
REQUEST = b"r" * 100


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[int, int]]:
    """A process of `tests.bench.lone_front` and its port, as long as the block."""
    command = [sys.executable, "-m", "tests.bench.lone_front", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        yield process.pid, int(process.stdout.readline())
        process.stdin.close()


@dataclass(frozen=True)
class LoneFront:
    """A front in a process of its own."""

    pid: int
    caller: ChannelCaller

    async def run(self) -> tuple[float, float]:
        """Seconds that the calls took, and processor time that they took the front."""
        began, before = time.perf_counter(), self._processor_seconds()
        await call_all(self.caller, "generator", "Generate", [REQUEST] * CALLS, IN_FLIGHT)
        return time.perf_counter() - began, self._processor_seconds() - before

    def _processor_seconds(self) -> float:
        """As the scheduler counts it: `times` counts in hundredths of a second."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def measure() -> dict[str, Any]:
    """Calls per second of both, and the processor time of each."""
    seconds: dict[str, list[float]] = {"telling": [], "silent": []}
    used: dict[str, list[float]] = {"telling": [], "silent": []}
    with contextlib.ExitStack() as running:
        _, engine = running.enter_context(started("torchserve"))
        fronts = {}
        for kind in seconds:
            pid, port = running.enter_context(started(kind, f"127.0.0.1:{engine}"))
            fronts[kind] = LoneFront(pid, ChannelCaller({"generator": f"127.0.0.1:{port}"}))
        for turn in range(PAIRS + 1):
            for kind in sorted(fronts, reverse=turn % 2 == 0):
                spent, processor = await fronts[kind].run()
                # The first turn warms up.
                if turn:
                    seconds[kind].append(spent)
                    used[kind].append(processor)
        for front in fronts.values():
            await front.caller.close()
    ratios = [
        silent / telling for telling, silent in zip(used["telling"], used["silent"], strict=True)
    ]
    return {
        "calls_in_flight": IN_FLIGHT,
        "processor_microseconds_per_call": {
            kind: round(1e6 * statistics.median(spent) / CALLS, 1) for kind, spent in used.items()
        },
        "processor_ratio": round(statistics.median(ratios), 3),
        "calls_per_second": {
            kind: round(CALLS / statistics.median(spent)) for kind, spent in seconds.items()
        },
    }
