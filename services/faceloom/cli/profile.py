"""`faceloom profile`: named sets of models that are served together."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from faceloom.cli.options import AsJsonOption, print_result
from faceloom.core.errors import UsageError
from faceloom.runtime.service import services
from faceloom.store.licences import consequence
from faceloom.store.model import Model, open_model
from faceloom.store.new_profile import create_profile
from faceloom.store.profile import (
    model_folders,
    path_in_store,
    profile_services,
    profiles,
    read_profile,
)

app = typer.Typer(help="Create and list profiles: what is served together.", no_args_is_help=True)

_ReferencesOption = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME, NAME/VERSION or a profile; repeat it to serve several, the first by default."
    ),
]


def _with_an_option_per_service(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose `references` are options called as the model services are."""
    own = [one for one in signature(command).parameters.values() if one.name != "references"]
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_ReferencesOption)
        for name in services()
    ]
    command.__signature__ = signature(command).replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    command.__annotations__ |= dict.fromkeys(services(), _ReferencesOption)
    return command


@app.command()
@_with_an_option_per_service
def create(
    name: Annotated[str, typer.Argument(help="Of the new profile.")],
    permission: Annotated[
        str | None,
        typer.Option(help="Who allowed to serve models whose licences ask for it, and what."),
    ] = None,
    as_json: AsJsonOption = False,
    **references: list[str] | None,
) -> None:
    """Create a profile of models in the store. A service without a model is not started.

    Example: [bold]faceloom profile create full --generator star --quality mine --quality tiny[/bold]
    """
    if permission is not None and not permission.strip():
        raise UsageError("--permission is empty; say who allowed what")
    given = {service: models or [] for service, models in references.items()}
    with _checking():
        models = create_profile(name, given, permission)
    made = _description(name, permission, models)
    print_result(made, as_json, _text(made))


@app.command("list")
def list_profiles(as_json: AsJsonOption = False) -> None:
    """List the profiles and what they serve.

    Example: [bold]faceloom profile list[/bold]
    """
    with _checking():
        found = [
            _description(name, read_profile(name).permission, _models(name)) for name in profiles()
        ]
    print_result({"profiles": found}, as_json, "\n".join(map(_text, found)) or "no profiles")


def _checking() -> Status:
    """Shown while weights are hashed."""
    return Console(stderr=True).status("checking the models")


def _models(profile: str) -> dict[str, list[Model]]:
    return {
        service: [open_model(folder) for folder in model_folders(profile, service)]
        for service in profile_services(profile)
    }


def _description(
    profile: str, permission: str | None, models: Mapping[str, Sequence[Model]]
) -> dict[str, Any]:
    """What `--json` says of a profile."""
    rows = [
        {
            "service": service,
            "name": model.name,
            "version": model.version,
            "license": model.license,
            "restriction": consequence(model.license),
            "path": path_in_store(model.folder),
        }
        for service, versions in models.items()
        for model in versions
    ]
    return {"profile": profile, "permission": permission, "models": rows}


def _text(described: Mapping[str, Any]) -> str:
    lines = [described["profile"]]
    for model in described["models"]:
        called = f"{model['name']} v{model['version']}"
        restriction = f" ({model['restriction']})" if model["restriction"] else ""
        lines.append(f"  {model['service']:<14}{called:<16}{model['license']}{restriction}")
    if described["permission"]:
        lines.append(f"  permission: {described['permission']}")
    return "\n".join(lines)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="profile")
