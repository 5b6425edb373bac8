"""Pictures of a dataset inside a page of HTML."""

import base64
import html
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image as PilImage


def triple(dataset: Path, row: Mapping[str, Any]) -> str:
    """The face, sketch and layout of a row of metadata.jsonl."""
    layout = PilImage.open(dataset / row["layout_file_name"]).convert("RGB")
    pictures = (
        (dataset / row["file_name"]).read_bytes(),
        (dataset / row["sketch_file_name"]).read_bytes(),
        _png(layout),
    )
    return f"<figure>{''.join(map(img, pictures))}{_caption(row)}</figure>"


def figure(picture: bytes, row: Mapping[str, Any]) -> str:
    """A PNG file above the seed and the score of its row."""
    return f"<figure>{img(picture)}{_caption(row)}</figure>"


def img(picture: bytes) -> str:
    """A PNG file as an element that holds it."""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def colours(classes: Iterable[Mapping[str, Any]]) -> str:
    """What the colours of layouts stand for, from labels.json."""
    return "".join(
        f'<span><i style="background: rgb({",".join(map(str, one["color"]))})"></i>'
        f"{html.escape(one['name'])}</span>"
        for one in classes
    )


def _caption(row: Mapping[str, Any]) -> str:
    return f"<figcaption>{row['seed']} · {row['quality']:.3f}</figcaption>"


def _png(picture: PilImage.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
