"""What kind of file some bytes are, told from the bytes themselves; names and suffixes say nothing.

The marks are those of the formats' own specifications, as https://en.wikipedia.org/wiki/List_of_file_signatures
lists them.
"""

from typing import Final

# So many bytes from the beginning are enough for `kind_of`.
HEAD_BYTES: Final = 512

# What services read.
READ: Final = ("PNG", "JPEG", "WEBP")

_MARKS: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xffO\xffQ", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\x01\0", "icon"),
    (b"%PDF-", "PDF"),
)
# The brand of an ISO base media file.
_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}  # fmt: skip


def kind_of(head: bytes) -> str | None:
    """`PNG`, `JPEG` or `WEBP`, another format's name, or None for bytes of no known picture.

    Args:
        head: The file, or its first `HEAD_BYTES`.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _media_kind(head)
    return next((kind for mark, kind in _MARKS if head.startswith(mark)), None)


def described(head: bytes) -> str:
    """What a file is, to a person: `a HEIC picture`, `a text file`, `an empty file`."""
    kind = kind_of(head)
    if kind == "PDF":
        return "a PDF document"
    if kind:
        name = "WebP" if kind == "WEBP" else kind
        return f"{'an' if name[0] in 'Ai' else 'a'} {name} picture"
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros"
    return "a text file" if _is_text(head) else "a file of an unknown kind"


def _media_kind(head: bytes) -> str | None:
    """HEIF files name a major brand, and compatible ones behind it; `mif1` alone says too little."""
    length = max(16, min(int.from_bytes(head[:4], "big"), HEAD_BYTES))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, length, 4))]
    found = {_BRANDS[brand] for brand in brands if brand in _BRANDS}
    if "AVIF" in found:
        return "AVIF"
    return "HEIC" if found else None


def _is_text(head: bytes) -> bool:
    # A character may be cut in two at the end of the head.
    text = head.decode("utf-8", "ignore").encode()
    return len(head) - len(text) < 4 and not any(byte < 9 or 13 < byte < 27 for byte in head)
