"""Where the models of a profile are: `$FACELOOM_MODEL_STORE/<profile>/<service>`."""

import os
from pathlib import Path

from faceloom.runtime.errors import UsageError

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
