"""PNG files: pixels, marks, the same bytes every time. Chunks are read by hand."""

import hashlib
import io
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
from PIL import Image

from faceloom.datasets.png import encode_png, pixels_sha256
from faceloom.layouts.classes import PALETTE

FACE = "cd" * 8
PICTURES = {
    "RGB": np.arange(48, dtype=np.uint8).reshape(4, 4, 3),
    "L": np.arange(16, dtype=np.uint8).reshape(4, 4),
    "P": np.arange(16, dtype=np.uint8).reshape(4, 4),
}


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (check,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert check == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    return found


@pytest.mark.parametrize("mode", PICTURES)
def test_pixels_survive_and_bytes_repeat(mode: str) -> None:
    data = encode_png(PICTURES[mode], 2**63, FACE, labels=mode == "P")
    assert data == encode_png(PICTURES[mode], 2**63, FACE, labels=mode == "P")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == mode
        assert np.array_equal(np.asarray(picture), PICTURES[mode])
        values = np.asarray(picture).tobytes()
    assert pixels_sha256(PICTURES[mode]) == hashlib.sha256(values).hexdigest()


@pytest.mark.parametrize("mode", PICTURES)
def test_every_mark_is_there(mode: str) -> None:
    found = chunks(encode_png(PICTURES[mode], 2**63, FACE, labels=mode == "P"))
    texts = dict(body.split(b"\0", 1) for kind, body in found if kind == b"tEXt")
    assert texts[b"Software"] == b"Faceloom"
    assert texts[b"Comment"].startswith(b"AI-generated")
    assert texts[b"Seed"] == b"9223372036854775808"
    assert texts[b"Face"] == FACE.encode()
    (international,) = [body for kind, body in found if kind == b"iTXt"]
    keyword, rest = international.split(b"\0", 1)
    assert keyword == b"XML:com.adobe.xmp"
    packet = rest[4:].decode()
    root = ElementTree.fromstring(
        packet[packet.index("<x:xmpmeta") : packet.index("<?xpacket end")]
    )
    (description,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    source = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert source == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_layouts_have_eight_bits_and_the_whole_palette_even_with_few_classes() -> None:
    found = dict(chunks(encode_png(np.zeros((4, 4), np.uint8), 1, FACE, labels=True)))
    bits, colour = found[b"IHDR"][8], found[b"IHDR"][9]
    assert (bits, colour) == (8, 3)
    assert found[b"PLTE"][: 3 * len(PALETTE)] == bytes(sum(PALETTE, ()))
