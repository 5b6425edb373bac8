"""What a picture's file says of its size, read from the file before a decoder sees it, and what decoding
it takes: a few bytes can claim any number of pixels."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from faceloom.core.file_kinds import kind_of

# Bytes that decoding one file may take: 48 million pixels of PNG, 26 million of WebP, 536 million of JPEG, of
# which a progressive one may have 76 million.
MAX_MEMORY: Final = 2**29
# Bytes of memory per pixel while a file is decoded and made upright, rounded up. A JPEG that is too large for
# networks is scaled down while it is decoded.
_PNG: Final = 11
_WEBP: Final = 20
_JPEG: Final = 1

# Start of frame, without the tables DHT, JPG and DAC among those numbers.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SCAN: Final = 0xDA
# Each of them is a pass over all pixels, in a few bytes; programs write ten to fifteen.
_MOST_SCANS: Final = 100
_END: Final = 0xD9
# Markers that nothing belongs to: TEM, and the start of the picture.
_ALONE: Final = frozenset({0x01, 0xD8})
# Neither a byte of pixels nor a restart among them.
_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


class Header(NamedTuple):
    """A file's kind (`PNG`, `JPEG`, `WEBP`), its size as it is stored, and what decoding takes."""

    kind: str
    width: int
    height: int
    bytes_per_pixel: int

    @property
    def memory(self) -> int:
        """In bytes."""
        return self.width * self.height * self.bytes_per_pixel


def read_header(data: bytes) -> Header:
    """The header of a PNG, JPEG or WebP file.

    Raises:
        ValueError: It is of another kind, or ends or breaks before its size is said.
    """
    kind = kind_of(data)
    if kind == "PNG" and len(data) >= 24:
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        return Header(kind, width, height, _PNG)
    if kind == "JPEG":
        return _jpeg(data)
    if kind == "WEBP":
        return Header(kind, *_webp(data), _WEBP)
    raise ValueError("it ends before its size")


def _jpeg(data: bytes) -> Header:
    frame, scans = None, 0
    for marker, segment in _segments(data):
        if marker in _FRAMES and len(segment) >= 6:
            frame = _frame(segment, kept=marker in _PROGRESSIVE)
        elif marker == _SCAN and frame and segment:
            scans += 1
            if segment[0] < frame.channels:
                frame = frame._replace(kept=True)
            if not frame.kept:
                break
            if scans > _MOST_SCANS:
                raise ValueError(f"it has more than {_MOST_SCANS} scans")
    if not scans or frame is None:
        raise ValueError("it ends before its pixels")
    return Header("JPEG", frame.width, frame.height, _JPEG + 2 * frame.channels * frame.kept)


class _Frame(NamedTuple):
    """What a JPEG says of its pixels. Of several scans a decoder keeps all coefficients, two bytes each,
    until the last one is read."""

    width: int
    height: int
    channels: int
    kept: bool


def _frame(segment: bytes, *, kept: bool) -> _Frame:
    height, width = (int.from_bytes(segment[at : at + 2], "big") for at in (1, 3))
    return _Frame(width, height, segment[5], kept)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of a JPEG up to its end, by their markers; what other pictures follow is left out."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = found[0][1], found.end()
        if marker == _END:
            return
        if marker not in _ALONE:
            length = int.from_bytes(data[at : at + 2], "big")
            yield marker, data[at + 2 : at + length]
            at += length


def _webp(data: bytes) -> tuple[int, int]:
    """Width and height; https://developers.google.com/speed/webp/docs/riff_container."""
    if len(data) < 30:
        raise ValueError("it ends before its size")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        raise ValueError("it begins with no picture")
    return width, height
