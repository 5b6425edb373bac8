"""Which models the store has, and which of them a profile serves:

    <profile>/<service>/               a profile with models of its own, one per service, as `tiny`
    <profile>/profile.json             a profile that names models of the store, one or more per service
    models/<kind>/<name>/<version>/    what was imported

The store is `$FACELOOM_MODEL_STORE`, else the checkout's folder `model_store`. An installed package is not
written to: there the store is a folder of the person's own, and behind it lies `tiny`, which came with the
package; what is not in the one is looked for in the other.

A profile serves what it has models for: a service without one is not packaged and not started.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.wording import unreadable
from faceloom.runtime.service import Service, services

# Of models and profiles: what is safe as the name of a folder.
SAFE_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
IMPORTED: Final = "models"
PROFILE_FILE: Final = "profile.json"

_CHECKOUT = Path(__file__).parents[3] / "model_store"
_PACKAGED = Path(__file__).parents[1] / "model_store"
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
    """The folder that imports, profiles and trained models are put into; it need not exist."""
    return _stores()[0]


def _stores() -> list[Path]:
    """Where models are looked for, in this order."""
    if chosen := os.environ.get("FACELOOM_MODEL_STORE"):
        return [Path(chosen)]
    if _CHECKOUT.is_dir():
        return [_CHECKOUT]
    # https://specifications.freedesktop.org/basedir-spec: a relative path there counts for nothing.
    data = os.environ.get("XDG_DATA_HOME", "")
    home = Path(data if os.path.isabs(data) else os.path.expanduser("~/.local/share"))
    return [home / "faceloom" / "model_store", _PACKAGED]


def stored(path: str) -> Path:
    """A folder of the store by its path in it; where it would be, if it is not there."""
    places = [store / path for store in _stores()]
    return next((place for place in places if place.exists()), places[0])


def path_in_store(folder: Path) -> str:
    """The other way round."""
    [path] = [folder.relative_to(store) for store in _stores() if folder.is_relative_to(store)]
    return path.as_posix()


def every_model() -> dict[str, Path]:
    """The folder of every model by its path in the store: those of profiles, then what was imported."""
    paths = {
        path_in_store(file.parent)
        for store in _stores()
        for pattern in ("*/*/model.json", f"{IMPORTED}/*/*/*/model.json")
        for file in store.glob(pattern)
    }
    return {path: stored(path) for path in sorted(paths, key=lambda path: (path.count("/"), path))}


def profiles() -> list[str]:
    """The names of the store's profiles."""
    names = {folder.name for store in _stores() if store.is_dir() for folder in store.iterdir()}
    return sorted(
        name
        for name in names
        if SAFE_NAME.fullmatch(name)
        and ((stored(name) / PROFILE_FILE).is_file() or _own_models(name))
    )


def read_profile(name: str) -> Profile:
    """What the store says of a profile.

    Raises:
        UsageError: The store has no such profile.
        FaceloomError: Its `profile.json` cannot be understood.
    """
    file = stored(name) / PROFILE_FILE
    if not file.is_file():
        own = _own_models(name)
        if not own:
            raise UsageError(f"{file.parent} does not exist or holds no model; {_HINT}")
        return Profile(models=own)
    try:
        return Profile.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise FaceloomError(f"{file} is not a profile: {unreadable(error)}") from None


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
    named = read_profile(profile).models.get(service)
    if named is None:
        raise UsageError(f"{stored(profile)} holds no {service} model; {_HINT}")
    folders = [stored(model) for model in named]
    for model, folder in zip(named, folders, strict=True):
        if not folder.is_dir():
            raise UsageError(
                f"profile {profile} serves {model}, which is not in {model_store()} any more; put it"
                " back, or create another profile"
            )
    return folders


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
    own = {name: f"{profile}/{name}" for name in services()}
    return {name: [path] for name, path in own.items() if stored(path).is_dir()}


def _imported_versions(kind: str) -> dict[str, list[str]]:
    """The versions of every imported model, oldest first, by name."""
    found: dict[str, list[str]] = {}
    for file in sorted((model_store() / IMPORTED / kind).glob("*/*/model.json")):
        # An import that is under way has a folder, too.
        if file.parent.name.isdecimal():
            found.setdefault(file.parent.parent.name, []).append(file.parent.name)
    return {name: sorted(versions, key=int) for name, versions in found.items()}
