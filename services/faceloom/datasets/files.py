"""What a reader of datasets wants of the place that a dataset lies in."""

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol

# A picture of 4,096 x 4,096 pixels that PNG does not compress has 48 MiB.
MAX_PICTURE = 64 * 2**20

# From the path of a picture and the ordinal of its face to the file.
Read = Callable[[str, int], bytes]


class Files(Protocol):
    """The files of one dataset. Every method raises OSError or ValueError
    where they are not as they should be."""

    def open(self, path: str) -> BinaryIO:
        """A file of the dataset that is no picture."""

    def read(self, path: str, ordinal: int) -> bytes:
        """A picture of the face of that ordinal."""

    def by_shard(self, faces: Iterable[tuple[int, int]]) -> Iterator[tuple[Iterable[int], Read]]:
        """Faces in an order in which their pictures are read with few requests, and what reads these.

        Args:
            faces: Their ordinals, each with a mark; the marks are what is answered.
        """


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """All of a file.

    Raises:
        ValueError: It is larger.
    """
    data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return data
