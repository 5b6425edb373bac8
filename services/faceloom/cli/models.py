"""`faceloom models`: what is in the model store, whether it is intact, its archives, and what comes in."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from faceloom.cli.options import AsJsonOption, print_result
from faceloom.cli.translate import LabelOrder
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.wording import counted
from faceloom.store.card import licence_line
from faceloom.store.model import BrokenModel, Model, open_model
from faceloom.store.package import package_profile
from faceloom.store.profile import every_model, model_store, named_model

app = typer.Typer(help="List, verify, package, import and join models.", no_args_is_help=True)


class EncoderKind(StrEnum):
    """Whose an encoder into a StyleGAN2 is: pixel2style2pixel or encoder4editing."""

    PSP = "psp"
    E4E = "e4e"


class PreprocessingKind(StrEnum):
    """Whose way of bringing pictures to a network."""

    UPSTREAM = "upstream"
    FACELOOM = "faceloom"


def _models() -> dict[str, Path]:
    """The folder of every model by its path in the store."""
    found = every_model()
    if not found and not model_store().is_dir():
        raise UsageError(
            f"there is no model store {model_store()}; FACELOOM_MODEL_STORE says which it is"
        )
    return found


@app.command("list")
def list_models(as_json: AsJsonOption = False) -> None:
    """List the models in the store.

    Example: [bold]faceloom models list[/bold]
    """
    models = {path: open_model(folder) for path, folder in _models().items()}
    rows = [
        {
            "path": path,
            "service": model.service,
            "name": model.name,
            "version": model.version,
            "digest": model.weights.sha256,
            "license": model.license,
        }
        for path, model in models.items()
    ]
    text = "\n".join(
        f"{row['path']:<30}{row['service']:<14}{row['name']} v{row['version']:<4}"
        f"{row['digest'][:12]}  {row['license']}"
        for row in rows
    )
    print_result({"models": rows}, as_json, text or f"no models in {model_store()}")


@app.command()
def verify(as_json: AsJsonOption = False) -> None:
    """Check every weights file against its digest.

    Example: [bold]faceloom models verify[/bold]
    """
    faults = []
    folders = _models().values()
    for folder in folders:
        try:
            open_model(folder)
        except BrokenModel as error:
            faults.append(str(error))
    print_result(
        {"faults": faults},
        as_json,
        "\n".join(faults) or f"{counted(len(folders), 'model')}, all intact",
    )
    if faults:
        raise FaceloomError(f"{counted(len(faults), 'damaged model')}")


@app.command()
def package(
    out: Annotated[Path, typer.Option(help="Folder for the archives.")] = Path("model_store/mar"),
    profile: Annotated[str, typer.Option(help="Which models.")] = "tiny",
    as_json: AsJsonOption = False,
) -> None:
    """Package a profile's models as TorchServe archives; the same models give the same bytes.

    Example: [bold]faceloom models package --out model_store/mar[/bold]
    """
    archives = [str(path) for path in package_profile(profile, out)]
    print_result({"archives": archives}, as_json, "\n".join(archives))


@app.command("import")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="The published file.")],
    kind: Annotated[str, typer.Option(help="A service, generator for example, or losses.")],
    form: Annotated[
        str, typer.Option("--format", help="Whose file it is; an unknown one lists all.")
    ],
    name: Annotated[str, typer.Option(help="What to call the model.")],
    licence: Annotated[
        str | None, typer.Option("--license", help="As the owner of the weights calls it.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="A classifier's outputs in their order: bad,good.")
    ] = None,
    keep: Annotated[str | None, typer.Option(help="The class of the wanted pictures.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score from which a picture is kept; 0.5.")
    ] = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="Generator in the store, NAME or NAME/VERSION, of an encoder without one."
        ),
    ] = None,
    label_order: Annotated[
        LabelOrder | None,
        typer.Option(help="How the classes of layouts are numbered, where the file does not say."),
    ] = None,
    encoder: Annotated[
        EncoderKind | None,
        typer.Option(help="Whose an encoder of faces is, where the file does not say."),
    ] = None,
    bn_eps: Annotated[
        float | None,
        typer.Option(
            help="Epsilon of a classifier's batch norms, where the file does not say: 0.001 if it was"
            " trained with timm's --bn-tf."
        ),
    ] = None,
    preprocessing: Annotated[
        PreprocessingKind | None,
        typer.Option(
            help="How pictures are brought to the network: as upstream's own scripts do it, or as the models"
            " of this project see them. Of sketch, segmentation and translator models."
        ),
    ] = None,
    resize_factor: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of a super-resolution encoder that learned several: by how much faces are made smaller.",
        ),
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """Import a published checkpoint. Nothing in the file is executed.

    Formats, by kind: [bold]generator[/bold] rosinality, nvlabs, tensorflow. [bold]quality[/bold] timm,
    timm-mixnet_s, timm-tf_mixnet_s. [bold]sketch[/bold] torch7, pth, sketchkeras, sketchkeras-pytorch.
    [bold]segmentation[/bold] zllrunning, yakhyo. [bold]translator[/bold] psp (also of encoder4editing).
    [bold]losses[/bold] alexnet, lpips, ir_se50. What PyTorch saved may be a safetensors file too.
    docs/published-models.md tells every layout.

    Example: [bold]faceloom models import --kind generator --format rosinality ffhq.pt --name ffhq
    --license 'NVIDIA Source Code License-NC'[/bold]
    """
    from faceloom.checkpoints.import_result import Answers
    from faceloom.checkpoints.importer import import_model

    answers = Answers(
        classes=tuple(classes.split(",")) if classes else None,
        keep=keep,
        threshold=threshold,
        decoder=named_model("generator", decoder) if decoder else None,
        label_order=label_order.value if label_order else None,
        encoder=encoder.value if encoder else None,
        bn_eps=bn_eps,
        preprocessing=preprocessing.value if preprocessing else None,
        resize_factor=resize_factor,
    )
    _print_model(import_model(kind, form, file, name, licence, answers), as_json)


@app.command()
def join(
    name: Annotated[str, typer.Argument(help="What to call the new translator.")],
    references: Annotated[
        list[str],
        typer.Argument(help="Translators in the store, NAME or NAME/VERSION, of different tasks."),
    ],
    as_json: AsJsonOption = False,
) -> None:
    """Make one translator of several with the same decoder, as imports of pixel2style2pixel are.

    Example: [bold]faceloom models join faces sketches layouts[/bold]
    """
    from faceloom.translator.merge import join_models

    folders = [named_model("translator", reference) for reference in references]
    _print_model(join_models(name, folders), as_json)


def _print_model(model: Model, as_json: bool) -> None:
    print_result(
        {"model": str(model.folder), **model.model_dump(mode="json", exclude={"folder"})},
        as_json,
        f"model    {model.folder}\ndigest   {model.weights.sha256}\n"
        f"license  {licence_line(model.license)}"
        + "".join(f"\nnote     {note}" for note in model.notes),
    )


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="models")
