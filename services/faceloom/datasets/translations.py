"""The last part of a dataset's report: its own sketches and layouts, translated back into faces."""

import html
import json
from collections.abc import Sequence
from typing import Final

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2, model_pb2
from faceloom.core.errors import ServiceError
from faceloom.datasets.embedded_pictures import img
from faceloom.datasets.reader import Dataset
from faceloom.datasets.records import FaceRecord
from faceloom.store.profile import every_model
from faceloom.translator.v1 import translator_pb2 as pb

_STYLE_SEED: Final = 1
_VARIANTS: Final = 4

_TITLES: Final = {"sketches": "From sketches", "layouts": "From layouts"}
_HEADS: Final = {"sketches": "sketch", "layouts": "layout"}
# Nobody translates here, or not this kind of picture.
_ABSENT: Final = {"UNREACHABLE", "MODEL_NOT_LOADED", "TASK_NOT_LOADED"}


async def translations(
    dataset: Dataset, faces: Sequence[FaceRecord], seed: int, faceloom: Faceloom
) -> str:
    """The part as HTML; empty when there is nothing to translate, or no translator.

    Args:
        dataset: Where the pictures are.
        faces: Those to show.
        seed: Of the build.
        faceloom: Its translator is asked.

    Raises:
        ServiceError: The translator is there, and failed.
        BrokenModel: A translator of the model store is damaged.
    """
    asked = [await _table(dataset, faces, kind, faceloom) for kind in _TITLES]
    found = [table for table in asked if table]
    if not found:
        return ""
    tables, models = zip(*found, strict=True)
    return (
        "<h2>Translated back into faces</h2>"
        "<p>Each row: what the translator is given; the face it was made from, which the translator does"
        " not see; the translation; and the translation with the styles of seeds"
        f" {_STYLE_SEED} to {_STYLE_SEED + _VARIANTS - 1}, which are meant to change colours and light and to"
        " keep the shape.</p>"
        f'<p class="dim">{_origin(models[0], seed)}</p>'
        f'<div class="translations">{"".join(tables)}</div>'
    )


def _request(kind: str, condition: bytes) -> pb.TranslateRequest:
    """The request for one of the `sketches` or `layouts` of a dataset, a PNG file, without a style."""
    picture = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=condition)
    request = pb.TranslateRequest(output_format=image_pb2.IMAGE_FORMAT_PNG)
    if kind == "sketches":
        request.sketch.CopyFrom(picture)
    else:
        request.layout.CopyFrom(pb.Layout(image=picture, order=pb.LABEL_ORDER_CELEBAMASK_HQ))
    return request


async def _table(
    dataset: Dataset, faces: Sequence[FaceRecord], kind: str, faceloom: Faceloom
) -> tuple[str, model_pb2.ModelInfo] | None:
    """The translations of one kind of picture, and who made them."""
    lines = []
    try:
        for record in faces:
            if kind not in record.files:
                continue
            condition, face = dataset.picture(record, kind), dataset.picture(record)
            made, model = await _translate(faceloom, _request(kind, condition))
            lines.append(_line(record.seed, [condition, face, *made]))
    except ServiceError as error:
        if error.reason in _ABSENT and not lines:
            return None
        raise
    if not lines:
        return None
    seeds = "".join(f"<th>seed {_STYLE_SEED + k}</th>" for k in range(_VARIANTS))
    header = f"<tr><th>{_HEADS[kind]}</th><th>its face</th><th>translation</th>{seeds}</tr>"
    table = f"<table>{header}{''.join(lines)}</table>"
    return f"<section><h3>{_TITLES[kind]}</h3>{table}</section>", model


async def _translate(
    faceloom: Faceloom, request: pb.TranslateRequest
) -> tuple[list[bytes], model_pb2.ModelInfo]:
    """The plain translation and the variants, PNG files; and who made them."""
    plain = await faceloom.translate(request)
    request.style_seed, request.variants = _STYLE_SEED, _VARIANTS
    styled = await faceloom.translate(request)
    faces = [*plain.translations, *styled.translations]
    return [face.image.data for face in faces], plain.model


def _origin(model: model_pb2.ModelInfo, seed: int) -> str:
    """Who translated, and whether it may have learned from these faces."""
    known = _training_seeds(model)
    if not known:
        origin = "The model store here does not know what it was trained on."
    elif seed in known.values():
        origin = "Trained on a build with this dataset's seed: it may know these faces."
    else:
        builds = ", ".join(
            f"<code>{html.escape(digest)}</code> (seed {other})"
            for digest, other in sorted(known.items())
        )
        origin = f"Trained on another build, {builds}: it has seen none of these faces."
    return f"Translator <code>{html.escape(model.digest)}</code><br>{origin}"


def _training_seeds(served: model_pb2.ModelInfo) -> dict[str, int]:
    """Digest and seed of the builds that the served weights come from, as far as the model store has them."""
    models = [json.loads((folder / "model.json").read_text()) for folder in every_model().values()]
    return {
        source["dataset_digest"]: source["dataset_seed"]
        for model in models
        if model["weights"]["sha256"] == served.digest
        for source in model["sources"]
        if "dataset_seed" in source
    }


def _line(seed: int, pictures: Sequence[bytes]) -> str:
    cells = "".join(f"<td>{img(picture)}</td>" for picture in pictures)
    return f'<tr title="seed {seed}">{cells}</tr>'
