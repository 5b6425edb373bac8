"""Reads `service.toml`, the single source of a model service's name, method and limits.

A model service is a folder of this package that holds a `service.toml`: whatever is the same for all services
finds them by it.
"""

import importlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import ServiceDescriptor
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from faceloom.core.errors import UsageError

if TYPE_CHECKING:
    from faceloom.runtime.handler import AnyHandler

PACKAGE = Path(__file__).parents[1]

# One call's request or response, everywhere: client, front and TorchServe.
MAX_MESSAGE_BYTES = 16 * 2**20


class ComputeBatch(BaseModel):
    """How many samples a network computes at a time, by kind of device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: PositiveInt
    cuda: PositiveInt


class Service(BaseModel):
    """One model service. The fields are explained in the `service.toml` files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    proto: str
    service: str
    handler: str
    model_check: str | None = None
    port: int
    max_items: PositiveInt
    compute_batch: ComputeBatch
    max_batch: PositiveInt
    max_queue: PositiveInt
    max_seconds: PositiveFloat
    latency_budget_ms: PositiveFloat

    def check_model(self, model: Any, served: Mapping[str, Sequence[Any]]) -> None:
        """Makes sure that a model of the store fits those, by service, that a profile serves with it.

        Raises:
            FaceloomError: It does not; says why.
        """
        if self.model_check:
            _imported(self.model_check)(model, served)

    @property
    def descriptor(self) -> ServiceDescriptor:
        """The service's protobuf descriptor."""
        file = importlib.import_module(self.proto).DESCRIPTOR
        return file.services_by_name[self.service.rpartition(".")[2]]  # type: ignore[no-any-return]

    @property
    def methods(self) -> list[str]:
        """The RPC names."""
        return [method.name for method in self.descriptor.methods]

    def new_handler(self) -> "AnyHandler":
        """An instance of the handler, not loaded yet. Imports torch."""
        return _imported(self.handler)(self)  # type: ignore[no-any-return]


def _imported(place: str) -> Callable[..., Any]:
    """What `module:name` names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


@cache
def services() -> dict[str, Service]:
    """Every model service by its short name."""
    return {
        path.parent.name: Service(name=path.parent.name, **tomllib.loads(path.read_text()))
        for path in sorted(PACKAGE.glob("*/service.toml"))
    }


def service(name: str) -> Service:
    """The service of that short name.

    Raises:
        UsageError: There is none.
    """
    try:
        return services()[name]
    except KeyError:
        raise UsageError(f"no service {name!r}; there are {', '.join(services())}") from None
