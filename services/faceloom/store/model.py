"""One model at rest: a folder with `model.json` and a safetensors file.

model.json   service, name, version, network (constructor arguments), options (what the handler needs
             to know), weights {file, sha256}, license, sources, metrics; limits and notes if it was imported
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from faceloom.common.v1 import model_pb2
from faceloom.core.errors import FaceloomError
from faceloom.core.wording import unreadable
from faceloom.runtime.service import Service

# How pictures are brought to a network, in the option `preprocessing`: as the project that published it does
# it, or as this one does.
PREPROCESSING: Final = "preprocessing"
UPSTREAM: Final = "upstream"
FACELOOM: Final = "faceloom"

# Of the square pictures that limits are measured with.
MEASURED_SIDE = 512


class BrokenModel(FaceloomError):
    """A model folder is not what it says it is."""


class Weights(BaseModel):
    """The weights file of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str


class Limits(BaseModel):
    """What was measured when a model came into the store, and what follows: how much one call may ask for.

    Args:
        seconds_per_item: Time of one CPU core that an item takes: a face, or a picture of MEASURED_SIDE
            pixels where it comes with the request. Time in which the core did something else is not in it.
        max_items: As many as fit into a quarter of the longest time that a call may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds_per_item: float
    max_items: int


class Model(BaseModel):
    """What `model.json` says.

    `notes` are what was found in the file that the model comes from and what follows, a sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    service: str
    name: str
    version: str
    network: dict[str, Any]
    options: dict[str, Any]
    weights: Weights
    license: str
    sources: list[dict[str, Any]]
    metrics: dict[str, Any]
    limits: Limits | None = None
    notes: tuple[str, ...] = ()

    def limited(self, service: Service) -> Service:
        """The service as far as this model can serve it."""
        if self.limits is None:
            return service
        most = min(service.max_items, self.limits.max_items)
        return service.model_copy(update={"max_items": most})

    @property
    def preprocessing(self) -> str:
        """UPSTREAM or FACELOOM; the latter for models whose `model.json` does not say."""
        said: str = self.options.get(PREPROCESSING, FACELOOM)
        return said

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.folder / self.weights.file

    def info(self, device: str, processor: str) -> model_pb2.ModelInfo:
        """How the services present this model to clients."""
        return model_pb2.ModelInfo(
            name=self.name,
            version=self.version,
            digest=self.weights.sha256,
            license=self.license,
            device=device.partition(":")[0],
            processor=processor,
        )


def open_model(folder: Path) -> Model:
    """Reads a model folder and checks the weights against their digest.

    Raises:
        BrokenModel: A file is missing, `model.json` is not valid, or the weights have changed.
    """
    try:
        description = json.loads((folder / "model.json").read_text())
        model = Model(folder=folder, **description)
        digest = file_sha256(model.weights_path)
    except (OSError, ValueError, TypeError) as error:
        raise BrokenModel(f"{folder} is not a model: {unreadable(error)}") from error
    if digest != model.weights.sha256:
        raise BrokenModel(
            f"{model.weights_path} has changed: sha256 is {digest}, model.json says"
            f" {model.weights.sha256}"
        )
    return model


def replace_model(new: Path, folder: Path) -> None:
    """Puts a copy of the model folder `new` in the place of `folder`, with all that belongs to it.

    Services that run keep the model they have loaded.

    Raises:
        BrokenModel: `new` is not a model.
    """
    open_model(new)
    coming, going = (folder.with_name(f".{folder.name}.{part}") for part in ("new", "old"))
    if going.exists() and not folder.exists():
        # An earlier replacement was killed between its two renames.
        going.rename(folder)
    for left_behind in (coming, going):
        shutil.rmtree(left_behind, ignore_errors=True)
    shutil.copytree(new, coming)
    if folder.exists():
        folder.rename(going)
    coming.rename(folder)
    shutil.rmtree(going, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """Lower-case hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
