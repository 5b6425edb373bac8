"""`faceloom models`: what is in the model store, whether it is intact, its archives, and what comes in."""

from pathlib import Path
from typing import Annotated

import typer

from faceloom.cli.options import AsJson, print_result
from faceloom.runtime.errors import FaceloomError
from faceloom.store.licences import consequence
from faceloom.store.model import BrokenModel, open_model
from faceloom.store.package import package_profile
from faceloom.store.profile import model_store

app = typer.Typer(help="List, verify, package and import models.", no_args_is_help=True)


def _folders() -> list[Path]:
    """Of every model in the store: those of profiles, then those that were imported."""
    store = model_store()
    return [
        file.parent
        for pattern in ("*/*/model.json", "models/*/*/*/model.json")
        for file in sorted(store.glob(pattern))
    ]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models in the store.

    Example: [bold]faceloom models list[/bold]
    """
    models = [open_model(folder) for folder in _folders()]
    rows = [
        {
            "path": model.folder.relative_to(model_store()).as_posix(),
            "service": model.service,
            "name": model.name,
            "version": model.version,
            "digest": model.weights.sha256,
            "license": model.license,
        }
        for model in models
    ]
    text = "\n".join(
        f"{row['path']:<30}{row['service']:<14}{row['name']} v{row['version']:<4}"
        f"{row['digest'][:12]}  {row['license']}"
        for row in rows
    )
    print_result({"models": rows}, as_json, text)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check every weights file against its digest.

    Example: [bold]faceloom models verify[/bold]
    """
    faults = []
    for folder in _folders():
        try:
            open_model(folder)
        except BrokenModel as error:
            faults.append(str(error))
    print_result({"faults": faults}, as_json, "\n".join(faults) or "all models are intact")
    if faults:
        raise FaceloomError(f"{len(faults)} models are damaged")


@app.command()
def package(
    out: Annotated[Path, typer.Option(help="Folder for the archives.")] = Path("model_store/mar"),
    profile: Annotated[str, typer.Option(help="Which models.")] = "tiny",
    as_json: AsJson = False,
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
        typer.Option(help="Imported generator, NAME/VERSION, for an encoder without one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a published checkpoint. Nothing in the file is executed.

    Example: [bold]faceloom models import --kind generator --format rosinality ffhq.pt --name ffhq
    --license 'NVIDIA Source Code License-NC'[/bold]
    """
    from faceloom.store.imported import Answers
    from faceloom.store.importing import import_model

    answers = Answers(
        classes=tuple(classes.split(",")) if classes else None,
        keep=keep,
        threshold=threshold,
        decoder=model_store() / "models" / "generator" / decoder if decoder else None,
    )
    model = import_model(kind, form, file, name, licence, answers)
    restriction = consequence(model.license)
    licence_line = f"{model.license} ({restriction})" if restriction else model.license
    print_result(
        {"model": str(model.folder), **model.model_dump(mode="json", exclude={"folder"})},
        as_json,
        f"model    {model.folder}\ndigest   {model.weights.sha256}\nlicense  {licence_line}",
    )
