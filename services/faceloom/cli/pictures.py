"""`classify`, `sketch`, `segment`: one service on files of pictures."""

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from faceloom.cli.files import Files, Out, read_image, target_files, write_file
from faceloom.cli.one_service import Model, OneService, Question, Raw
from faceloom.cli.options import AsJson, Engine, EngineKind, print_result
from faceloom.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.errors import FaceloomError, ServiceError, TooLarge
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

# Large photographs in files fit into one message, mostly.
_AT_ONCE = 4


class Style(StrEnum):
    """How to draw."""

    LEARNED = "learned"
    CLASSICAL = "classical"


class Picture(NamedTuple):
    """A file and what is in it."""

    file: Path
    image: image_pb2.Image


def classify(
    files: Files,
    model: Model = None,
    raw: Raw = None,
    engine: Engine = EngineKind.TORCHSERVE,
    as_json: AsJson = False,
) -> None:
    """Score faces: the probability that a person keeps them.

    Example: [bold]faceloom classify faces/*.png --json[/bold]
    """
    service = OneService("quality", engine, model, raw)
    scores: list[dict[str, Any]] = []

    def request(some: Sequence[Picture]) -> quality_pb2.ClassifyRequest:
        return quality_pb2.ClassifyRequest(
            images=[picture.image for picture in some], model_version=service.model_version
        )

    def take(some: Sequence[Picture], answer: quality_pb2.ClassifyResponse) -> None:
        for picture, quality in zip(some, answer.qualities, strict=True):
            scores.append(
                {"file": str(picture.file), "score": quality.score, "accepted": quality.accepted}
            )

    service.ask(_pictures(files), Question(_AT_ONCE, request, Faceloom.classify, take, _explained))
    lines = [
        f"{s['score']:.4f}  {'keep' if s['accepted'] else 'reject'}  {s['file']}" for s in scores
    ]
    print_result(service.report({"qualities": scores}), as_json, "\n".join(lines))


def sketch(
    files: Files,
    out: Out,
    style: Annotated[Style, typer.Option(help="Learned or classical lines.")] = Style.LEARNED,
    model: Model = None,
    raw: Raw = None,
    engine: Engine = EngineKind.TORCHSERVE,
    as_json: AsJson = False,
) -> None:
    """Draw pictures as dark lines on white: OUT/<name>.png.

    Example: [bold]faceloom sketch photo.jpg --out sketches[/bold]
    """
    service = OneService("sketch", engine, model, raw)
    targets = dict(zip(files, target_files(files, out), strict=True))
    written: list[str] = []

    def request(some: Sequence[Picture]) -> sketch_pb2.SketchRequest:
        return sketch_pb2.SketchRequest(
            images=[picture.image for picture in some],
            style=sketch_pb2.SketchStyle.Value(f"SKETCH_STYLE_{style.name}"),
            output_format=image_pb2.IMAGE_FORMAT_PNG,
            model_version=service.model_version,
        )

    def take(some: Sequence[Picture], answer: sketch_pb2.SketchResponse) -> None:
        for picture, drawing in zip(some, answer.sketches, strict=True):
            written.append(write_file(targets[picture.file], drawing.data))

    service.ask(_pictures(files), Question(_AT_ONCE, request, Faceloom.sketch, take, _explained))
    print_result(service.report({"files": written}), as_json, "\n".join(written))


def segment(
    files: Files,
    out: Out,
    model: Model = None,
    raw: Raw = None,
    engine: Engine = EngineKind.TORCHSERVE,
    as_json: AsJson = False,
) -> None:
    """Label pictures with the 19 CelebAMask-HQ classes: OUT/<name>.png, ids in a palette.

    Example: [bold]faceloom segment photo.jpg --out layouts[/bold]
    """
    service = OneService("segmentation", engine, model, raw)
    targets = dict(zip(files, target_files(files, out), strict=True))
    written: list[str] = []
    names: list[str] = []

    def request(some: Sequence[Picture]) -> segmentation_pb2.SegmentRequest:
        return segmentation_pb2.SegmentRequest(
            images=[picture.image for picture in some],
            output_format=image_pb2.IMAGE_FORMAT_PNG,
            model_version=service.model_version,
        )

    def take(some: Sequence[Picture], answer: segmentation_pb2.SegmentResponse) -> None:
        names[:] = answer.class_names
        for picture, layout in zip(some, answer.layouts, strict=True):
            written.append(write_file(targets[picture.file], layout.data))

    service.ask(_pictures(files), Question(_AT_ONCE, request, Faceloom.segment, take, _explained))
    result = service.report({"files": written, "class_names": names})
    print_result(result, as_json, "\n".join(written))


def _pictures(files: Sequence[Path]) -> list[Picture]:
    return [Picture(file, read_image(file)) for file in files]


def _explained(error: ServiceError, some: Sequence[Picture]) -> FaceloomError:
    """The refusal of a request, by the file that it is about."""
    place = re.match(r"images\[(\d+)\]", error.field or "")
    if place is None and not isinstance(error, TooLarge):
        return error
    guilty = some[int(place[1]) if place else 0]
    return FaceloomError(f"{guilty.file}: {error.message}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (classify, sketch, segment):
        app.command()(command)
