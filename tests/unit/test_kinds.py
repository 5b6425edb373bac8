"""The kind of a file is what its first bytes are."""

import io

import pytest
from PIL import Image

from faceloom.core.file_kinds import HEAD_BYTES, described, kind_of


def saved(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("PNG", "PNG"),
        ("JPEG", "JPEG"),
        ("WEBP", "WEBP"),
        ("GIF", "GIF"),
        ("BMP", "BMP"),
        ("TIFF", "TIFF"),
        ("JPEG2000", "JPEG 2000"),
        ("ICO", "icon"),
        ("PDF", "PDF"),
    ],
)
def test_files_as_pillow_writes_them(form: str, kind: str) -> None:
    data = saved(form)

    assert kind_of(data) == kind
    assert kind_of(data[:HEAD_BYTES]) == kind


def media(*brands: bytes) -> bytes:
    """The first box of an ISO base media file: major brand, minor version, compatible brands."""
    body = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (4 + len(body)).to_bytes(4, "big") + body + b"\0\0\1\0meta"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (media(b"heic", b"mif1", b"heic"), "a HEIC picture"),
        (media(b"mif1", b"mif1", b"heic"), "a HEIC picture"),
        (media(b"avif", b"mif1", b"miaf"), "an AVIF picture"),
        (media(b"mif1", b"avif", b"miaf"), "an AVIF picture"),
        (media(b"isom", b"mp42"), "a file of an unknown kind"),
        (saved("TIFF"), "a TIFF picture"),
        (saved("ICO"), "an icon picture"),
        (saved("WEBP"), "a WebP picture"),
        (saved("PDF"), "a PDF document"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL picture"),
        (b"", "an empty file"),
        (bytes(100), "a file of zeros"),
        (b"hello\n", "a text file"),
        ("é".encode() * HEAD_BYTES, "a text file"),
        (("a" + "é" * HEAD_BYTES).encode()[:HEAD_BYTES], "a text file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a text file"),
        (b"PK\x03\x04\x14\x00", "a file of an unknown kind"),
    ],
)
def test_files_are_named_for_what_they_are(data: bytes, says: str) -> None:
    assert described(data) == says
