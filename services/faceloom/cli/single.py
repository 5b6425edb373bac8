"""`generate`, `classify`, `sketch`, `segment`: one service on seeds or files."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from faceloom.cli.options import AsJson, Engine, EngineKind, connect, print_result
from faceloom.common.v1 import image_pb2
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.errors import FaceloomError, UsageError
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

T = TypeVar("T")

_FORMATS = {
    ".png": image_pb2.IMAGE_FORMAT_PNG,
    ".jpg": image_pb2.IMAGE_FORMAT_JPEG,
    ".jpeg": image_pb2.IMAGE_FORMAT_JPEG,
    ".webp": image_pb2.IMAGE_FORMAT_WEBP,
}
# Small enough for the message limit with large photographs.
_FILES_PER_CALL = 4
_SEEDS_PER_CALL = 64

Files = Annotated[list[Path], typer.Argument(help="PNG, JPEG or WebP files.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]


class Style(StrEnum):
    """How to draw."""

    LEARNED = "learned"
    CLASSICAL = "classical"


def generate(
    out: Out,
    seeds: Annotated[str, typer.Option(help="Seeds and ranges, for example 0-63,100.")] = "0-63",
    psi: Annotated[float, typer.Option(help="Truncation, 0 to 1.5.")] = 0.7,
    engine: Engine = EngineKind.TORCHSERVE,
    as_json: AsJson = False,
) -> None:
    """Generate one face per seed as OUT/seed<N>.png.

    Example: [bold]faceloom generate --seeds 0-63 --psi 0.7 --out faces[/bold]
    """
    asyncio.run(_generate(parse_seeds(seeds), psi, out, engine, as_json))


async def _generate(
    seeds: Sequence[int], psi: float, out: Path, engine: EngineKind, as_json: bool
) -> None:
    written = []
    async with connect(engine) as faceloom:
        for some in chunks(seeds, _SEEDS_PER_CALL):
            request = generator_pb2.GenerateRequest(
                seeds=some, truncation_psi=psi, output_format=image_pb2.IMAGE_FORMAT_PNG
            )
            response = await faceloom.generate(request)
            for face in response.faces:
                written.append(write_file(out / f"seed{face.seed:07d}.png", face.image.data))
    print_result({"files": written}, as_json, f"{len(written)} faces in {out}")


def classify(files: Files, engine: Engine = EngineKind.TORCHSERVE, as_json: AsJson = False) -> None:
    """Score faces: the probability that a person keeps them.

    Example: [bold]faceloom classify faces/*.png --json[/bold]
    """
    asyncio.run(_classify(files, engine, as_json))


async def _classify(files: Sequence[Path], engine: EngineKind, as_json: bool) -> None:
    pictures = [read_image(file) for file in files]
    scores: list[dict[str, Any]] = []
    async with connect(engine) as faceloom:
        for some in chunks(list(zip(files, pictures, strict=True)), _FILES_PER_CALL):
            request = quality_pb2.ClassifyRequest(images=[picture for _, picture in some])
            response = await faceloom.classify(request)
            for (file, _), quality in zip(some, response.qualities, strict=True):
                scores.append(
                    {"file": str(file), "score": quality.score, "accepted": quality.accepted}
                )
    lines = [
        f"{s['score']:.4f}  {'keep' if s['accepted'] else 'reject'}  {s['file']}" for s in scores
    ]
    print_result({"qualities": scores}, as_json, "\n".join(lines))


def sketch(
    files: Files,
    out: Out,
    style: Annotated[Style, typer.Option(help="Learned or classical lines.")] = Style.LEARNED,
    engine: Engine = EngineKind.TORCHSERVE,
    as_json: AsJson = False,
) -> None:
    """Draw pictures as dark lines on white: OUT/<name>.png.

    Example: [bold]faceloom sketch photo.jpg --out sketches[/bold]
    """
    asyncio.run(_sketch(files, out, style, engine, as_json))


async def _sketch(
    files: Sequence[Path], out: Path, style: Style, engine: EngineKind, as_json: bool
) -> None:
    targets = target_files(files, out)
    pictures = [read_image(file) for file in files]
    written = []
    async with connect(engine) as faceloom:
        for some in chunks(list(zip(targets, pictures, strict=True)), _FILES_PER_CALL):
            request = sketch_pb2.SketchRequest(
                images=[picture for _, picture in some],
                style=sketch_pb2.SketchStyle.Value(f"SKETCH_STYLE_{style.name}"),
                output_format=image_pb2.IMAGE_FORMAT_PNG,
            )
            response = await faceloom.sketch(request)
            for (target, _), drawing in zip(some, response.sketches, strict=True):
                written.append(write_file(target, drawing.data))
    print_result({"files": written}, as_json, "\n".join(written))


def segment(
    files: Files, out: Out, engine: Engine = EngineKind.TORCHSERVE, as_json: AsJson = False
) -> None:
    """Label pictures with the 19 CelebAMask-HQ classes: OUT/<name>.png, ids in a palette.

    Example: [bold]faceloom segment photo.jpg --out layouts[/bold]
    """
    asyncio.run(_segment(files, out, engine, as_json))


async def _segment(files: Sequence[Path], out: Path, engine: EngineKind, as_json: bool) -> None:
    targets = target_files(files, out)
    pictures = [read_image(file) for file in files]
    written = []
    names: list[str] = []
    async with connect(engine) as faceloom:
        for some in chunks(list(zip(targets, pictures, strict=True)), _FILES_PER_CALL):
            request = segmentation_pb2.SegmentRequest(
                images=[picture for _, picture in some],
                output_format=image_pb2.IMAGE_FORMAT_PNG,
            )
            response = await faceloom.segment(request)
            names = list(response.class_names)
            for (target, _), layout in zip(some, response.layouts, strict=True):
                written.append(write_file(target, layout.data))
    print_result({"files": written, "class_names": names}, as_json, "\n".join(written))


def parse_seeds(text: str) -> list[int]:
    """`0-3,7` as [0, 1, 2, 3, 7].

    Raises:
        UsageError: It is not a list of seeds and ranges.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--seeds {text!r}: give numbers and ranges, for example 0-63,100")
        seeds.extend(range(int(first), int(last if dash else first) + 1))
    if not seeds or max(seeds) >= 2**64:
        raise UsageError(f"--seeds {text!r}: seeds go from 0 to 2^64 - 1")
    return seeds


def read_image(file: Path) -> image_pb2.Image:
    """A picture file as a message.

    Raises:
        UsageError: The file is not there, or is of another kind.
    """
    kind = _FORMATS.get(file.suffix.lower())
    if kind is None:
        raise UsageError(f"{file}: give PNG, JPEG or WebP files")
    try:
        return image_pb2.Image(format=kind, data=file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def target_files(files: Sequence[Path], out: Path) -> list[Path]:
    """Where each file's result goes.

    Raises:
        UsageError: `out` is a file, or two files would be written to the same place.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder for the results")
    targets = [out / f"{file.stem}.png" for file in files]
    twins = {target.name for target in targets if targets.count(target) > 1}
    if twins:
        raise UsageError(f"several files would be written as {', '.join(sorted(twins))} in {out}")
    return targets


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def write_file(target: Path, data: bytes) -> str:
    """Writes a file whole or not at all; answers with its name.

    Raises:
        FaceloomError: It cannot be written there.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise FaceloomError(f"cannot write {target}: {error.strerror}") from None
    return str(target)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    for command in (generate, classify, sketch, segment):
        app.command()(command)
