"""Writes the dataset's PNG files: always the same bytes, and marked as machine-made in every way there is.

Marks are lost when a picture is encoded again, so this is the last encoder that pictures pass.
"""

import hashlib
import io

import numpy as np
import PIL
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from faceloom.core.arrays import Pixels
from faceloom.layouts.classes import PALETTE

LEVEL = 6
_MODES = ("RGB", "L", "P")
ENCODER = f"pillow {PIL.__version__}, zlib {features.version('zlib')}, level {LEVEL}"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMMENT = "AI-generated: not a photograph, and no real person"

# https://iptc.org/standards/photo-metadata/: the property that says who made the pixels.
_XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" \
Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


def pixels_sha256(pixels: Pixels) -> str:
    """sha256 of the values, row by row: of `numpy.asarray(PIL.Image.open(file)).tobytes()`."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def decode_png(data: bytes) -> Pixels:
    """The values in a PNG file of a dataset: [H, W, 3], grey [H, W], or of layouts class ids [H, W].

    Raises:
        ValueError, OSError: It is no such file.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode not in _MODES:
                raise ValueError(f"its pixels are {picture.mode}")
            return np.asarray(picture)
    except (Image.DecompressionBombError, SyntaxError, EOFError) as error:
        raise ValueError(f"{error}") from None


def encode_png(pixels: Pixels, seed: int, identity: str, *, labels: bool = False) -> bytes:
    """A marked PNG file.

    Args:
        pixels: [height, width, 3] colour, or [height, width] grey or labels.
        seed: The candidate's global seed.
        identity: The id of the face.
        labels: The pixels are class ids; viewers see CelebAMask-HQ's colours.
    """
    picture = Image.fromarray(pixels)
    if labels:
        picture = Image.fromarray(pixels, mode="P")
        picture.putpalette([channel for colour in PALETTE for channel in colour])
    marks = PngInfo()
    marks.add_text("Software", "Faceloom")
    marks.add_text("Comment", COMMENT)
    marks.add_text("Seed", str(seed))
    marks.add_text("Face", identity)
    marks.add_itxt("XML:com.adobe.xmp", _XMP)
    buffer = io.BytesIO()
    # Palettes are written whole: Pillow would else choose 1, 2 or 4 bits from the number of colours.
    picture.save(
        buffer, "PNG", pnginfo=marks, compress_level=LEVEL, **({"bits": 8} if labels else {})
    )
    return buffer.getvalue()
