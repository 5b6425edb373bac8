"""Which models the store has, and which of them a profile serves. The store is `$FACELOOM_MODEL_STORE`:

    <profile>/<service>/               a profile with models of its own, one per service, as `tiny`
    <profile>/profile.json             a profile that names models of the store, one or more per service
    models/<kind>/<name>/<version>/    what was imported

A profile serves what it has models for: a service without one is not packaged and not started.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceloom.runtime.errors import FaceloomError, UsageError
from faceloom.runtime.service import Service, services

# Of models and profiles: what is safe as the name of a folder.
SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
IMPORTED: Final = "models"
PROFILE_FILE: Final = "profile.json"

_CHECKOUT = Path(__file__).parents[3] / "model_store"
_HINT = "FACELOOM_MODEL_STORE names the folder that holds profiles"


class Profile(BaseModel):
    """What a profile serves.

    Args:
        models: Model folders by service, relative to the store. A service's first answers requests that
            name none.
        permission: Who allowed to serve the models whose licences ask for that, and what was allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, Annotated[list[str], Field(min_length=1)]]
    permission: str | None = None


def model_store() -> Path:
    """The model store's folder: the environment's choice, else the checkout's."""
    return Path(os.environ.get("FACELOOM_MODEL_STORE", _CHECKOUT))


def profiles() -> list[str]:
    """The names of the store's profiles."""
    folders = model_store().iterdir() if model_store().is_dir() else ()
    return sorted(
        folder.name
        for folder in folders
        if SAFE_NAME.fullmatch(folder.name)
        and ((folder / PROFILE_FILE).is_file() or _own_models(folder.name))
    )


def read_profile(name: str) -> Profile:
    """What the store says of a profile.

    Raises:
        UsageError: The store has no such profile.
        FaceloomError: Its `profile.json` cannot be understood.
    """
    file = model_store() / name / PROFILE_FILE
    if not file.is_file():
        own = _own_models(name)
        if not own:
            raise UsageError(f"{file.parent} does not exist or holds no model; {_HINT}")
        return Profile(models=own)
    try:
        return Profile.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FaceloomError(f"{file} is not a profile: {place} {first['msg']}") from None


def profile_services(profile: str) -> dict[str, Service]:
    """The services that a profile has a model for, by short name.

    Raises:
        UsageError: The store has no such profile, or nothing is in it.
    """
    served = read_profile(profile).models
    return {name: service for name, service in services().items() if name in served}


def model_folders(profile: str, service: str) -> list[Path]:
    """The folders of a profile's models for a service, the default one first.

    Raises:
        UsageError: The store has no such profile, the profile no such model, or the store no longer what
            the profile names.
    """
    store = model_store()
    named = read_profile(profile).models.get(service)
    if named is None:
        raise UsageError(f"{store / profile} holds no {service} model; {_HINT}")
    for model in named:
        if not (store / model).is_dir():
            raise UsageError(
                f"profile {profile} serves {model}, which is not in {store} any more; put it back, or"
                " create another profile"
            )
    return [store / model for model in named]


def model_folder(profile: str, service: str) -> Path:
    """The folder of a profile's default model for a service.

    Raises:
        UsageError: As `model_folders`.
    """
    return model_folders(profile, service)[0]


def named_model(kind: str, reference: str) -> Path:
    """The folder of the model that a person means.

    Args:
        kind: Short name of the service, or `losses`.
        reference: `NAME`, the latest version of that import; `NAME/VERSION`; or a profile, which means
            its default model. An import goes before a profile of the same name.

    Raises:
        UsageError: There is no such model; the message lists those there are.
    """
    imported = _imported_versions(kind)
    name, slash, version = reference.partition("/")
    versions = imported.get(name, ())
    if versions and not slash:
        version = versions[-1]
    if version in versions:
        return model_store() / IMPORTED / kind / name / version
    serving = [profile for profile in profiles() if kind in read_profile(profile).models]
    if not versions and reference in serving:
        return model_folder(reference, kind)
    known = [f"{name}/{version}" for name, versions in imported.items() for version in versions]
    listed = ", ".join([*known, *serving]) or "none; faceloom models import brings one in"
    raise UsageError(f"no {kind} model {reference!r}; there are {listed}")


def _own_models(profile: str) -> dict[str, list[str]]:
    """The model folders that are inside a profile's own, by service."""
    if profile == IMPORTED:
        return {}
    folder = model_store() / profile
    return {name: [f"{profile}/{name}"] for name in services() if (folder / name).is_dir()}


def _imported_versions(kind: str) -> dict[str, list[str]]:
    """The versions of every imported model, oldest first, by name."""
    found: dict[str, list[str]] = {}
    for file in sorted((model_store() / IMPORTED / kind).glob("*/*/model.json")):
        # An import that is under way has a folder, too.
        if file.parent.name.isdecimal():
            found.setdefault(file.parent.parent.name, []).append(file.parent.name)
    return {name: sorted(versions, key=int) for name, versions in found.items()}
