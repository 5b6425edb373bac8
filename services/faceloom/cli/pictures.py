"""`classify`, `sketch`, `segment`: one service on files of pictures."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from faceloom.cli.files import OutFolderOption, target_files, write_file
from faceloom.cli.inputs import FilesArgument, files_of, sources
from faceloom.cli.one_service import ModelOption, OneService, RawOption, ServiceCall
from faceloom.cli.options import AsJsonOption, EngineKind, EngineOption
from faceloom.cli.outcome import CommandOutcome, FailFastOption
from faceloom.cli.photographs import (
    Photograph,
    Size,
    SizeOption,
    drawing_of,
    layout_of,
    read_picture,
)
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

# Large photographs in files fit into one message, mostly.
_AT_ONCE = 4
_OWN = ("images",)


class SketchStyle(StrEnum):
    """How to draw."""

    LEARNED = "learned"
    CLASSICAL = "classical"


def classify(
    files: FilesArgument,
    fail_fast: FailFastOption = False,
    model: ModelOption = None,
    raw: RawOption = None,
    engine: EngineOption = EngineKind.TORCHSERVE,
    as_json: AsJsonOption = False,
) -> None:
    """Score faces: the probability that a person keeps them. A file that cannot be scored is named, and the
    others are scored.

    Example: [bold]faceloom classify faces --json[/bold]
    """
    service = OneService("quality", engine, model, raw)
    given = sources(files)
    service.protect(files_of(given), [])
    outcome = CommandOutcome("quality", len(given), as_json, fail_fast)
    scores: list[dict[str, Any]] = []

    def request(some: Sequence[Photograph]) -> quality_pb2.ClassifyRequest:
        return quality_pb2.ClassifyRequest(
            images=[picture.image for picture in some], model_version=service.model_version
        )

    def take(some: Sequence[Photograph], answer: quality_pb2.ClassifyResponse) -> None:
        for picture, quality in zip(some, answer.qualities, strict=True):
            name, score, kept = picture.source.name, quality.score, quality.accepted
            scores.append({"file": name, "score": score, "accepted": kept})
            outcome.say(f"{score:.4f}  {'keep' if kept else 'reject'}  {name}")

    call = ServiceCall(_AT_ONCE, read_picture, request, Faceloom.classify, take, _OWN)
    written = service.ask(given, call, outcome)
    outcome.report({"qualities": scores, **written})


def sketch(
    files: FilesArgument,
    out: OutFolderOption,
    style: Annotated[
        SketchStyle, typer.Option(help="Learned or classical lines.")
    ] = SketchStyle.LEARNED,
    size: SizeOption = Size.SERVED,
    fail_fast: FailFastOption = False,
    model: ModelOption = None,
    raw: RawOption = None,
    engine: EngineOption = EngineKind.TORCHSERVE,
    as_json: AsJsonOption = False,
) -> None:
    """Draw pictures as dark lines on white: OUT/<name>.png, its longer side 256 to 512 pixels. A file that
    cannot be drawn is named, and the others are drawn.

    Example: [bold]faceloom sketch photo.jpg --size original --out sketches[/bold]
    """
    service = OneService("sketch", engine, model, raw)
    given = sources(files)
    targets = dict(zip(given, target_files(given, out), strict=True))
    service.protect(files_of(given), targets.values())
    outcome = CommandOutcome("sketch", len(given), as_json, fail_fast)
    written: list[str] = []

    def request(some: Sequence[Photograph]) -> sketch_pb2.SketchRequest:
        return sketch_pb2.SketchRequest(
            images=[picture.image for picture in some],
            style=sketch_pb2.SketchStyle.Value(f"SKETCH_STYLE_{style.name}"),
            output_format=image_pb2.IMAGE_FORMAT_PNG,
            model_version=service.model_version,
        )

    def take(some: Sequence[Photograph], answer: sketch_pb2.SketchResponse) -> None:
        for picture, drawing in zip(some, answer.sketches, strict=True):
            data = drawing_of(drawing.data, picture.size) if picture.size else drawing.data
            written.append(write_file(targets[picture.source], data))
            outcome.say(written[-1])

    read = partial(read_picture, size=size)
    call = ServiceCall(_AT_ONCE, read, request, Faceloom.sketch, take, _OWN)
    also = service.ask(given, call, outcome)
    outcome.report({"files": written, **also})


def segment(
    files: FilesArgument,
    out: OutFolderOption,
    size: SizeOption = Size.SERVED,
    fail_fast: FailFastOption = False,
    model: ModelOption = None,
    raw: RawOption = None,
    engine: EngineOption = EngineKind.TORCHSERVE,
    as_json: AsJsonOption = False,
) -> None:
    """Label pictures with the 19 CelebAMask-HQ classes: OUT/<name>.png, ids in a palette, its longer side 256
    to 512 pixels. A file that cannot be labelled is named, and the others are labelled.

    Example: [bold]faceloom segment photo.jpg --size original --out layouts[/bold]
    """
    service = OneService("segmentation", engine, model, raw)
    given = sources(files)
    targets = dict(zip(given, target_files(given, out), strict=True))
    service.protect(files_of(given), targets.values())
    outcome = CommandOutcome("segmentation", len(given), as_json, fail_fast)
    written: list[str] = []
    names: list[str] = []

    def request(some: Sequence[Photograph]) -> segmentation_pb2.SegmentRequest:
        return segmentation_pb2.SegmentRequest(
            images=[picture.image for picture in some],
            output_format=image_pb2.IMAGE_FORMAT_PNG,
            model_version=service.model_version,
        )

    def take(some: Sequence[Photograph], answer: segmentation_pb2.SegmentResponse) -> None:
        names[:] = answer.class_names
        for picture, layout in zip(some, answer.layouts, strict=True):
            data = layout_of(layout.data, picture.size) if picture.size else layout.data
            written.append(write_file(targets[picture.source], data))
            outcome.say(written[-1])

    read = partial(read_picture, size=size)
    call = ServiceCall(_AT_ONCE, read, request, Faceloom.segment, take, _OWN)
    also = service.ask(given, call, outcome)
    outcome.report({"files": written, "class_names": names, **also})


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (classify, sketch, segment):
        app.command()(command)
