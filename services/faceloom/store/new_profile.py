"""A profile is made of models of the store; what could not be served together is refused."""

import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from faceloom.core.errors import FaceloomError, UsageError
from faceloom.store.model import Model, open_model
from faceloom.store.profile import (
    IMPORTED,
    PROFILE_FILE,
    SAFE_NAME,
    Profile,
    model_store,
    named_model,
    path_in_store,
    stored,
)
from faceloom.store.servable import check_servable, check_together


def create_profile(
    name: str, references: Mapping[str, Sequence[str]], permission: str | None
) -> dict[str, list[Model]]:
    """Write `<store>/<name>/profile.json`.

    Args:
        name: Of the profile; nothing in the store has it yet.
        references: By service what its models are called, as in `named_model`; the default one first. A
            service without any is not served.
        permission: Who allowed to serve the models whose licences ask for that, and what was allowed.

    Returns:
        The models it serves, by service.

    Raises:
        UsageError: The name is taken or cannot be one, a model is not there, or they cannot be served
            together.
        BrokenModel: A model is damaged.
        FaceloomError: The store cannot be written to.
    """
    folder = model_store() / name
    if not SAFE_NAME.fullmatch(name) or name == IMPORTED:
        raise UsageError(
            f"a profile cannot be called {name!r}: use up to 100 letters, digits, dots, dashes and"
            f" underscores, and not {IMPORTED!r}"
        )
    if stored(name).exists():
        raise UsageError(f"{stored(name)} is there already; choose another name")
    models = {
        service: [open_model(named_model(service, reference)) for reference in given]
        for service, given in references.items()
        if given
    }
    if not models:
        raise UsageError("a profile serves at least one model, for example --generator tiny")
    for service, versions in models.items():
        for model in versions:
            check_servable(model, service, permission)
    check_together(models)
    _write(folder, _profile(models, permission))
    return models


def _profile(models: Mapping[str, Sequence[Model]], permission: str | None) -> Profile:
    paths = {
        service: [path_in_store(model.folder) for model in versions]
        for service, versions in models.items()
    }
    return Profile(models=paths, permission=permission)


def _write(folder: Path, profile: Profile) -> None:
    """The whole profile or nothing."""
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.mkdir(parents=True)
        text = profile.model_dump_json(indent=2, exclude_none=True) + "\n"
        (partial / PROFILE_FILE).write_text(text)
        partial.rename(folder)
    except OSError as error:
        raise FaceloomError(f"cannot write {folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
