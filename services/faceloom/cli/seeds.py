"""Seeds as people write them: `0-63,100`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from faceloom.core.errors import UsageError

_MOST = 2**64 - 1


@dataclass(frozen=True)
class Seeds:
    """Seeds in the order in which they were written, each once. Memory does not grow with their number."""

    ranges: tuple[range, ...]

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.ranges)

    @property
    def count(self) -> int:
        """How many there are. It may be more than `len` can say."""
        return sum(part.stop - part.start for part in self.ranges)


def parse_seeds(text: str) -> Seeds:
    """`0-3,7` as 0, 1, 2, 3, 7.

    Raises:
        UsageError: It is not a list of seeds and ranges, a range goes down, or a seed is there twice.
    """
    ranges = tuple(_range(text, part.strip()) for part in text.split(","))
    for one, next_one in pairwise(sorted(ranges, key=lambda part: part.start)):
        if next_one.start < one.stop:
            raise UsageError(f"--seeds {text}: {next_one.start} is there twice")
    return Seeds(ranges)


def _range(text: str, part: str) -> range:
    first, dash, last = part.partition("-")
    if not _is_number(first) or (dash and not _is_number(last)):
        raise UsageError(
            f"--seeds {text or 'is empty'}: give numbers and ranges, for example 0-63,100"
        )
    # Python reads no number of thousands of digits.
    if max(len(first.lstrip("0")), len(last.lstrip("0"))) > len(str(_MOST)):
        raise UsageError(f"--seeds {text}: seeds go from 0 to 2^64 - 1")
    begin, end = int(first), int(last if dash else first)
    if max(begin, end) > _MOST:
        raise UsageError(f"--seeds {text}: seeds go from 0 to 2^64 - 1")
    if end < begin:
        raise UsageError(f"--seeds {text}: {part} goes down; a range begins with its smaller seed")
    return range(begin, end + 1)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
