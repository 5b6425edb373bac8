"""Pictures of a dataset inside a page of HTML."""

import base64
import html
from collections.abc import Iterable

from faceloom.datasets.reader import Dataset, LayoutClass
from faceloom.datasets.records import FaceRecord, RejectedRecord


def triple(dataset: Dataset, face: FaceRecord) -> str:
    """A face, and the pictures that there are of it."""
    kinds = [kind for kind, path in face.files.items() if path.endswith(".png")]
    pictures = [dataset.picture(face, kind) for kind in kinds]
    return f"<figure>{''.join(map(img, pictures))}{_caption(face)}</figure>"


def figure(picture: bytes, record: FaceRecord | RejectedRecord) -> str:
    """A PNG file above the seed and the score of its record."""
    return f"<figure>{img(picture)}{_caption(record)}</figure>"


def img(picture: bytes) -> str:
    """A PNG file as an element that holds it."""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def colours(classes: Iterable[LayoutClass]) -> str:
    """What the colours of layouts stand for, from labels.json."""
    return "".join(
        f'<span><i style="background: rgb({",".join(map(str, one.color))})"></i>'
        f"{html.escape(one.name)}</span>"
        for one in classes
    )


def _caption(record: FaceRecord | RejectedRecord) -> str:
    return f"<figcaption>{record.seed} · {record.quality:.3f}</figcaption>"
