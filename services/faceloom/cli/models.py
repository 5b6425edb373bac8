"""`faceloom models`: what is in the model store, whether it is intact, and its archives."""

from pathlib import Path
from typing import Annotated

import typer

from faceloom.cli.options import AsJson, print_result
from faceloom.runtime.errors import FaceloomError
from faceloom.store.model import BrokenModel, open_model
from faceloom.store.package import package_profile
from faceloom.store.profile import model_store

app = typer.Typer(help="List, verify and package models.", no_args_is_help=True)


def _folders() -> list[Path]:
    return sorted(path.parent for path in model_store().glob("*/*/model.json"))


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models in the store.

    Example: [bold]faceloom models list[/bold]
    """
    models = [open_model(folder) for folder in _folders()]
    rows = [
        {
            "profile": model.folder.parent.name,
            "service": model.service,
            "name": model.name,
            "version": model.version,
            "digest": model.weights.sha256,
            "license": model.license,
        }
        for model in models
    ]
    text = "\n".join(
        f"{model.folder.parent.name:<8}{model.service:<14}{model.name} v{model.version:<4}"
        f"{model.license:<8}{model.weights.sha256[:12]}"
        for model in models
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
