"""The typed client: one object with a method per model service.

    async with Faceloom.connect() as faceloom:
        response = await faceloom.generate(GenerateRequest(seeds=range(8), truncation_psi=0.7))

What carries the bytes is a `Caller`: gRPC channels here, or engines inside this process (see
`faceloom.clients.in_process`). A build cannot tell the two apart.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.retrying import Notice, Retrying
from faceloom.runtime.service import service
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2
from faceloom.translator.v1 import translator_pb2


class Caller(Protocol):
    """Carries one request to one service."""

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        """Answers with the serialized response.

        Args:
            service: Short name, for example `generator`.
            method: RPC name, for example `Generate`.
            request: The serialized request message.
            timeout: Seconds after which a service gives up. Models in this process take their time.

        Raises:
            ServiceError: The call failed; the type says how.
        """
        ...

    async def close(self) -> None:
        """Lets go of channels, threads and models."""
        ...


class Faceloom:
    """Calls the model services."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @classmethod
    def connect(
        cls,
        targets: Mapping[str, str] | None = None,
        *,
        port_offset: int | None = None,
        wait: float | None = None,
        notice: Notice | None = None,
    ) -> Self:
        """A client of running fronts.

        Args:
            targets: gRPC target by service, for example `{"generator": "localhost:50051"}`. What is
                missing is looked for where `faceloom up` puts it.
            port_offset: What is added to the ports where `faceloom up` puts them; FACELOOM_PORT_OFFSET
                when not given.
            wait: Seconds for which a call is tried again while its service does not answer (UNAVAILABLE) or
                its queue is full (RESOURCE_EXHAUSTED), with pauses that grow, vary, and are no shorter than
                the service asks for; 0 tries once. Without it, 60, but 5 for a service that has never
                answered. Every try has the whole `timeout` of its call.
            notice: Is called before every pause, with the service's short name and its last error.
        """
        return cls(ChannelCaller(targets, port_offset, Retrying(wait, notice)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._caller.close()

    async def call(self, name: str, request: Message, timeout: float = 60) -> Any:
        """The response of any service, by its short name, to a request of one of its methods.

        Raises:
            ServiceError: The call failed; the type says how.
            UsageError: There is no such service.
            TypeError: None of its methods takes such a request.
        """
        for method in service(name).descriptor.methods:
            if method.input_type is request.DESCRIPTOR:
                data = await self._caller.call(
                    name, method.name, request.SerializeToString(), timeout
                )
                return GetMessageClass(method.output_type).FromString(data)
        raise TypeError(f"the {name} service takes no {request.DESCRIPTOR.full_name}")

    async def generate(
        self, request: generator_pb2.GenerateRequest, timeout: float = 60
    ) -> generator_pb2.GenerateResponse:
        """Faces from seeds or latents."""
        response = await self.call("generator", request, timeout)
        return cast(generator_pb2.GenerateResponse, response)

    async def classify(
        self, request: quality_pb2.ClassifyRequest, timeout: float = 60
    ) -> quality_pb2.ClassifyResponse:
        """Which faces to keep."""
        response = await self.call("quality", request, timeout)
        return cast(quality_pb2.ClassifyResponse, response)

    async def sketch(
        self, request: sketch_pb2.SketchRequest, timeout: float = 60
    ) -> sketch_pb2.SketchResponse:
        """Line drawings of pictures."""
        return cast(sketch_pb2.SketchResponse, await self.call("sketch", request, timeout))

    async def segment(
        self, request: segmentation_pb2.SegmentRequest, timeout: float = 60
    ) -> segmentation_pb2.SegmentResponse:
        """Class maps of pictures."""
        response = await self.call("segmentation", request, timeout)
        return cast(segmentation_pb2.SegmentResponse, response)

    async def translate(
        self, request: translator_pb2.TranslateRequest, timeout: float = 60
    ) -> translator_pb2.TranslateResponse:
        """Faces from a drawing or a label map."""
        response = await self.call("translator", request, timeout)
        return cast(translator_pb2.TranslateResponse, response)
