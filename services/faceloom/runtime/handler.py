"""What a model author writes.

A handler has four verbs: `load` the model, `decode` one request into samples, `predict` samples, `encode`
outputs into one response. `faceloom.runtime.batch` does the rest for every engine alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message

from faceloom.common.v1 import model_pb2
from faceloom.core.errors import TOO_MANY_ITEMS, FailedPrecondition, InvalidArgument
from faceloom.runtime.service import MAX_MESSAGE_BYTES, Service

# Fronts come here for the names of things and run without numpy.
if TYPE_CHECKING:
    from faceloom.core.arrays import Floats

# Of an answer's pictures; the rest of the message is for latents and what is said of the model.
MAX_ANSWER_BYTES = MAX_MESSAGE_BYTES - 2**20

Req = TypeVar("Req", bound=Message)
S = TypeVar("S")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Work(Generic[S]):
    """One decoded request: samples, and what must be equal for samples to share a chunk."""

    samples: Sequence[S]
    key: Hashable = None


class Handler(ABC, Generic[Req, S, Out]):
    """One model behind one RPC. All verbs are called from one thread at a time."""

    request_type: type[Message]

    def __init__(self, service: Service) -> None:
        self.service = service
        self.model = model_pb2.ModelInfo()

    @abstractmethod
    def load(self, folder: Path, device: str) -> None:
        """Reads the model in `folder` onto `device` (`cpu` or `cuda:N`) and fills `self.model`."""

    @abstractmethod
    def decode(self, request: Req) -> Work[S]:
        """Checks one request and turns it into samples.

        Raises:
            InvalidArgument: Names the field that is wrong.
        """

    @abstractmethod
    def predict(self, key: Hashable, samples: Sequence[S]) -> Sequence[Out]:
        """One output per sample; there are always `compute_batch` of them."""

    @abstractmethod
    def outputs(self, key: Hashable, samples: Sequence[S]) -> "Sequence[Floats]":
        """What the network itself answers to each sample of a chunk, before anything is rounded."""

    @abstractmethod
    def encode(self, request: Req, outputs: Sequence[Out]) -> Message:
        """The response to one request."""

    @abstractmethod
    def sample_request(self) -> Req:
        """The smallest request, for warming up."""

    def warm_up_requests(self) -> Sequence[Req]:
        """Requests that together use all that is loaded."""
        return [self.sample_request()]

    @property
    def compute_batch(self) -> int:
        """How many samples `predict` gets, always, on the device the model is loaded on."""
        sizes = self.service.compute_batch
        return sizes.cuda if self.model.device == "cuda" else sizes.cpu

    @property
    def reference(self) -> str:
        """What tells the loaded model from all others: `name/version`."""
        return f"{self.model.name}/{self.model.version}"

    def is_meant(self, wanted: str) -> bool:
        """Whether a request's `model_version` means the loaded model."""
        return wanted in ("", self.model.version, self.model.name, self.reference)

    def check_version(self, wanted: str) -> None:
        """Refuses a request for another model.

        Raises:
            FailedPrecondition: `wanted` is neither empty nor the loaded model's version, name or
                `name/version`.
        """
        if not self.is_meant(wanted):
            raise FailedPrecondition(
                f"model_version {wanted!r} is not loaded; {self.reference} is",
                reason="MODEL_NOT_LOADED",
                field="model_version",
            )

    def check_count(self, field: str, count: int) -> None:
        """Refuses an empty or an overlong list.

        Raises:
            InvalidArgument: Names the field and the limit.
        """
        if not 1 <= count <= self.service.max_items:
            raise InvalidArgument(
                f"{field} has {count} items; give 1 to {self.service.max_items}",
                reason=TOO_MANY_ITEMS if count else None,
                field=field,
            )

    def check_answer(self, field: str, size: int) -> None:
        """Refuses, before it is computed, what would not fit into one message.

        Args:
            field: The request's field that there are fewer of in a smaller call.
            size: Bytes of the answer's pictures, which are not compressed.

        Raises:
            InvalidArgument: Names the field and the limit.
        """
        if size > MAX_ANSWER_BYTES:
            raise InvalidArgument(
                f"the answer to all {field} is {size} bytes, over the limit of {MAX_ANSWER_BYTES};"
                f" send fewer {field} or ask for a compressed output_format",
                reason=TOO_MANY_ITEMS,
                field=field,
            )


AnyHandler: TypeAlias = Handler[Any, Any, Any]
