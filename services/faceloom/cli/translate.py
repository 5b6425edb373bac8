"""`faceloom translate`: drawings and label maps to faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from faceloom.cli.files import Out, read_image, target_files, write_file
from faceloom.cli.one_service import Model, OneService, Question, Raw
from faceloom.cli.options import AsJson, Engine, EngineKind, print_result
from faceloom.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.runtime.errors import FaceloomError, ServiceError, UsageError
from faceloom.translator.v1 import translator_pb2 as pb

# What fields of the request are called here.
_OPTIONS = {"variants": "--variants", "truncation_psi": "--psi", "alpha": "--alpha"}


class Task(StrEnum):
    """What the files are."""

    SKETCH = "sketch"
    SEGMENTATION = "segmentation"
    FACE = "face"


class Order(StrEnum):
    """What the ids of label maps stand for."""

    CELEBAMASK_HQ = "celebamask_hq"
    BISENET = "bisenet"


class Wish(NamedTuple):
    """A file, what is asked of it, and where its face goes."""

    file: Path
    request: pb.TranslateRequest
    target: Path


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
        reference = read_image(self.style_reference) if self.style_reference else None
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
        list[Path], typer.Argument(help="PNG, JPEG or WebP drawings or faces, or PNG label maps.")
    ],
    task: Annotated[Task, typer.Option(help="What the files are.")],
    out: Out,
    variants: Annotated[int, typer.Option(min=1, help="Faces per file.")] = 1,
    style_seed: Annotated[
        int | None,
        typer.Option(help="Style of the first variant; the next ones take the next seeds."),
    ] = None,
    style_reference: Annotated[
        Path | None, typer.Option(help="A face whose appearance is taken.")
    ] = None,
    label_order: Annotated[
        Order, typer.Option(help="What the ids of label maps stand for.")
    ] = Order.CELEBAMASK_HQ,
    psi: Annotated[
        float | None, typer.Option(help="Truncation of seeded styles, 0 to 1.5.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="How much of the style is taken, 0 to 1.")
    ] = None,
    model: Model = None,
    raw: Raw = None,
    engine: Engine = EngineKind.TORCHSERVE,
    as_json: AsJson = False,
) -> None:
    """Turn drawings, label maps or photographs into faces: OUT/<name>.png; variants are <name>-<k>.png.

    It ends at the first file that is refused. The faces of the files before it stay, each of them whole.

    Example: [bold]faceloom translate --task sketch drawing.png --variants 5 --style-seed 5 --out faces[/bold]
    """
    service = OneService("translator", engine, model, raw)
    base = Look(variants, style_seed, style_reference, psi, alpha).request()
    base.model_version = service.model_version
    wishes = [
        Wish(file, _with_picture(base, read_image(file), task, label_order), target)
        for file, target in zip(files, target_files(files, out), strict=True)
    ]
    written: list[str] = []

    def take(some: Sequence[Wish], answer: pb.TranslateResponse) -> None:
        places = _places(some[0].target, variants)
        for place, translation in zip(places, answer.translations, strict=True):
            written.append(write_file(place, translation.image.data))

    def explain(error: ServiceError, some: Sequence[Wish]) -> FaceloomError:
        return _explained(error, some[0].file, style_reference)

    service.ask(
        wishes, Question(1, lambda some: some[0].request, Faceloom.translate, take, explain)
    )
    print_result(service.report({"files": written}), as_json, "\n".join(written))


def _explained(error: ServiceError, file: Path, reference: Path | None) -> FaceloomError:
    """The refusal of a request, by the file or the option that it is about."""
    field = error.field or ""
    if field in _OPTIONS:
        return UsageError(f"{_OPTIONS[field]}: {error.message}")
    guilty = reference if field.startswith("style_reference") else file
    return FaceloomError(f"{guilty}: {error.message}")


def _with_picture(
    base: pb.TranslateRequest, picture: image_pb2.Image, task: Task, order: Order
) -> pb.TranslateRequest:
    request = pb.TranslateRequest()
    request.CopyFrom(base)
    if task is Task.SKETCH:
        request.sketch.CopyFrom(picture)
    elif task is Task.FACE:
        request.face.CopyFrom(picture)
    else:
        value = pb.LabelOrder.Value(f"LABEL_ORDER_{order.name}")
        request.layout.CopyFrom(pb.Layout(image=picture, order=value))
    return request


def _places(target: Path, variants: int) -> list[Path]:
    if variants == 1:
        return [target]
    return [target.with_stem(f"{target.stem}-{k}") for k in range(variants)]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(translate)
