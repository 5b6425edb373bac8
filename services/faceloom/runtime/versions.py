"""Several models of one service side by side; a request names one in its `model_version`."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import Message

from faceloom.core.errors import FailedPrecondition
from faceloom.runtime.handler import AnyHandler, Handler, Work
from faceloom.runtime.service import Service

# Fronts run without numpy.
if TYPE_CHECKING:
    from faceloom.core.arrays import Floats


class Versions(Handler[Any, Any, Any]):
    """Hands every request on to the handler of the model it names, or to the first one's."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._handlers: list[AnyHandler] = []

    def load(self, folder: Path, device: str) -> None:
        """Adds a model; the first one answers requests that name none."""
        handler = self.service.new_handler()
        handler.load(folder, device)
        self._handlers.append(handler)
        self.request_type = handler.request_type
        self.model = self._handlers[0].model

    def sample_request(self) -> Message:
        """The first model's."""
        request: Message = self._handlers[0].sample_request()
        return request

    def warm_up_requests(self) -> Sequence[Message]:
        requests = []
        for handler in self._handlers:
            request = handler.sample_request()
            request.model_version = handler.reference
            requests.append(request)
        return requests

    def decode(self, request: Any) -> Work[Any]:
        number = self._named(request.model_version)
        work = self._handlers[number].decode(request)
        return Work(work.samples, (number, work.key))

    def predict(self, key: Hashable, samples: Sequence[Any]) -> Sequence[Any]:
        number, own_key = cast(tuple[int, Hashable], key)
        return self._handlers[number].predict(own_key, samples)

    def outputs(self, key: Hashable, samples: Sequence[Any]) -> "Sequence[Floats]":
        number, own_key = cast(tuple[int, Hashable], key)
        return self._handlers[number].outputs(own_key, samples)

    def encode(self, request: Any, outputs: Sequence[Any]) -> Message:
        return self._handlers[self._named(request.model_version)].encode(request, outputs)

    def _named(self, wanted: str) -> int:
        """The number of the model that a request names.

        Raises:
            FailedPrecondition: None of the models is meant, or several are.
        """
        meant = [number for number, one in enumerate(self._handlers) if one.is_meant(wanted)]
        if len(meant) == 1 or not wanted:
            return meant[0]
        if meant:
            several = ", ".join(self._handlers[number].reference for number in meant)
            raise FailedPrecondition(
                f"model_version {wanted!r} is ambiguous; name one model as name/version: {several}",
                reason="MODEL_AMBIGUOUS",
                field="model_version",
            )
        loaded = ", ".join(one.reference for one in self._handlers)
        raise FailedPrecondition(
            f"model_version {wanted!r} is not loaded; {loaded} are",
            reason="MODEL_NOT_LOADED",
            field="model_version",
        )


def load_models(service: Service, folders: Sequence[Path], device: str) -> AnyHandler:
    """A handler with the models in those folders, the default one first."""
    handler = service.new_handler() if len(folders) == 1 else Versions(service)
    for folder in folders:
        handler.load(folder, device)
    return handler
