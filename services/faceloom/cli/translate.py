"""`faceloom translate`: drawings and label maps to faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from faceloom.cli.files import OutFolderOption, target_files, write_file
from faceloom.cli.inputs import InputFile, files_of, sources
from faceloom.cli.one_service import ModelOption, OneService, RawOption, ServiceCall
from faceloom.cli.options import AsJsonOption, EngineKind, EngineOption, TranslatorTask
from faceloom.cli.outcome import CommandOutcome, FailFastOption
from faceloom.cli.photographs import MAX_PICTURE_BYTES, read_layout, read_picture
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import UsageError
from faceloom.translator.v1 import translator_pb2 as pb

# A request's fields for the picture that is translated.
_OWN = ("sketch", "layout", "face")


class LabelOrder(StrEnum):
    """What the ids of label maps stand for."""

    CELEBAMASK_HQ = "celebamask_hq"
    BISENET = "bisenet"


class Wish(NamedTuple):
    """A picture, and what is asked of it."""

    source: InputFile
    request: pb.TranslateRequest


@dataclass(frozen=True)
class Look:
    """Options that every file's request shares."""

    variants: int
    style_seed: int | None
    style_reference: Path | None
    psi: float | None
    alpha: float | None

    def request(self) -> pb.TranslateRequest:
        """The request, without its picture.

        Raises:
            UsageError: The options contradict each other.
        """
        self._check()
        reference = None
        if self.style_reference:
            source = InputFile(str(self.style_reference), self.style_reference)
            # Two pictures share the message.
            reference = read_picture(source, most=MAX_PICTURE_BYTES // 2).image
        request = pb.TranslateRequest(
            variants=self.variants,
            style_reference=reference,
            truncation_psi=self.psi,
            alpha=self.alpha,
            output_format=image_pb2.IMAGE_FORMAT_PNG,
        )
        if self.style_seed is not None:
            request.style_seed = self.style_seed
        return request

    @property
    def options(self) -> Mapping[str, str]:
        """What the request's fields are called here."""
        return {
            "variants": "--variants",
            "truncation_psi": "--psi",
            "alpha": "--alpha",
            "style_reference": f"--style-reference {self.style_reference}",
        }

    def _check(self) -> None:
        seeded, referring = self.style_seed is not None, self.style_reference is not None
        problems = {
            "give --style-seed or --style-reference, not both": seeded and referring,
            "--style-seed goes from 0 to 2^64 - 1": not 0 <= (self.style_seed or 0) < 2**64,
            f"--variants {self.variants} differ by their seeds: give --style-seed": (
                self.variants > 1 and not seeded
            ),
            "--psi is for styles by seed: give --style-seed": self.psi is not None and not seeded,
            "--alpha is the share of a style: give --style-seed or --style-reference": (
                self.alpha is not None and not (seeded or referring)
            ),
        }
        for problem, there_is in problems.items():
            if there_is:
                raise UsageError(problem)


def translate(
    files: Annotated[
        list[Path],
        typer.Argument(
            # As of other commands.
            readable=False,
            help="PNG, JPEG or WebP drawings or faces, or label maps: PNG of CelebAMask-HQ's colours or of"
            " ids 0 to 18; folders of them (their own files, sorted by name), or - for one on standard"
            " input.",
        ),
    ],
    task: Annotated[TranslatorTask, typer.Option(help="What the files are.")],
    out: OutFolderOption,
    variants: Annotated[int, typer.Option(min=1, help="Faces per file.")] = 1,
    style_seed: Annotated[
        int | None,
        typer.Option(help="Style of the first variant; the next ones take the next seeds."),
    ] = None,
    style_reference: Annotated[
        Path | None, typer.Option(help="A face whose appearance is taken.")
    ] = None,
    label_order: Annotated[
        LabelOrder,
        typer.Option(help="What the ids of label maps stand for; colours name classes themselves."),
    ] = LabelOrder.CELEBAMASK_HQ,
    psi: Annotated[
        float | None, typer.Option(help="Truncation of seeded styles, 0 to 1.5.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="How much of the style is taken, 0 to 1.")
    ] = None,
    fail_fast: FailFastOption = False,
    model: ModelOption = None,
    raw: RawOption = None,
    engine: EngineOption = EngineKind.TORCHSERVE,
    as_json: AsJsonOption = False,
) -> None:
    """Turn drawings, label maps or photographs into faces: OUT/<name>.png; variants are <name>-<k>.png. A
    file that is refused is named, and the others are translated.

    Drawings may be scans or photographs of paper, or light lines on a dark ground; photographs of people are
    refused as sketches.

    Example: [bold]faceloom translate --task sketch drawing.png --variants 5 --style-seed 5 --out faces[/bold]
    """
    service = OneService("translator", engine, model, raw)
    look = Look(variants, style_seed, style_reference, psi, alpha)
    base = look.request()
    base.model_version = service.model_version
    given = sources(files)
    targets = _targets(given, out, variants)
    inputs = files_of(given) + ([style_reference] if style_reference else [])
    service.protect(inputs, [place for places in targets.values() for place in places])
    outcome = CommandOutcome("translator", len(given), as_json, fail_fast)
    written: list[str] = []

    most = MAX_PICTURE_BYTES - len(base.style_reference.data)
    read_one = read_layout if task is TranslatorTask.SEGMENTATION else read_picture

    def read(source: InputFile) -> Wish:
        picture = read_one(source, most=most)
        return Wish(source, _with_picture(base, picture.image, task, label_order))

    def take(some: Sequence[Wish], answer: pb.TranslateResponse) -> None:
        places = targets[some[0].source]
        for place, translation in zip(places, answer.translations, strict=True):
            written.append(write_file(place, translation.image.data))
            outcome.say(written[-1])

    call = ServiceCall(
        1, read, lambda some: some[0].request, Faceloom.translate, take, _OWN, look.options
    )
    also = service.ask(given, call, outcome)
    outcome.report({"files": written, **also})


def _with_picture(
    base: pb.TranslateRequest, picture: image_pb2.Image, task: TranslatorTask, order: LabelOrder
) -> pb.TranslateRequest:
    request = pb.TranslateRequest()
    request.CopyFrom(base)
    if task is TranslatorTask.SKETCH:
        request.sketch.CopyFrom(picture)
    elif task is TranslatorTask.FACE:
        request.face.CopyFrom(picture)
    else:
        value = pb.LabelOrder.Value(f"LABEL_ORDER_{order.name}")
        request.layout.CopyFrom(pb.Layout(image=picture, order=value))
    return request


def _targets(given: Sequence[InputFile], out: Path, variants: int) -> dict[InputFile, list[Path]]:
    targets = dict(zip(given, target_files(given, out), strict=True))
    if variants == 1:
        return {source: [target] for source, target in targets.items()}
    return {
        source: [target.with_stem(f"{target.stem}-{k}") for k in range(variants)]
        for source, target in targets.items()
    }


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(translate)
