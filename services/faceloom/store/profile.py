"""Where the models of a profile are: `$FACELOOM_MODEL_STORE/<profile>/<service>`.

A profile serves what it has models for: a service without a folder is not packaged and not started.
"""

import os
from pathlib import Path

from faceloom.runtime.errors import UsageError
from faceloom.runtime.service import Service, services

_CHECKOUT = Path(__file__).parents[3] / "model_store"


def model_store() -> Path:
    """The model store's folder: the environment's choice, else the checkout's."""
    return Path(os.environ.get("FACELOOM_MODEL_STORE", _CHECKOUT))


def model_folder(profile: str, service: str) -> Path:
    """The folder of a profile's model for a service.

    Raises:
        UsageError: The store has no such profile.
    """
    folder = model_store() / profile / service
    if not folder.is_dir():
        raise UsageError(
            f"{folder} does not exist; FACELOOM_MODEL_STORE names the folder that holds profiles"
        )
    return folder


def profile_services(profile: str) -> dict[str, Service]:
    """The services that a profile has a model for, by short name.

    Raises:
        UsageError: The store has no such profile, or nothing is in it.
    """
    folder = model_store() / profile
    found = {name: service for name, service in services().items() if (folder / name).is_dir()}
    if not found:
        raise UsageError(
            f"{folder} does not exist or holds no model; FACELOOM_MODEL_STORE names the folder that holds"
            " profiles"
        )
    return found
