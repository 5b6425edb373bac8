"""Where the time of a run goes."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from faceloom.core.tracing import TRACER


class Stopwatch:
    """Adds up seconds by part, and counts what had to be done again. Parts overlap, so they add up to more
    than the run took."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self.seconds = dict.fromkeys(parts, 0.0)
        self.retries: Counter[str] = Counter()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Counts what is done inside as that part, which is a span, too."""
        started = time.perf_counter()
        try:
            with TRACER.start_as_current_span(part, record_exception=False):
                yield
        finally:
            self.seconds[part] += time.perf_counter() - started
