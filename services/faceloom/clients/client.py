"""The typed client: one object with a method per model service.

    async with Faceloom.connect() as faceloom:
        response = await faceloom.generate(GenerateRequest(seeds=range(8), truncation_psi=0.7))

What carries the bytes is a `Caller`: gRPC channels here, or engines inside this process (see
`faceloom.clients.in_process`). A build cannot tell the two apart.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.channel import ChannelCaller
from faceloom.runtime.retrying import Notice, Retrying
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

    async def generate(
        self, request: generator_pb2.GenerateRequest, timeout: float = 60
    ) -> generator_pb2.GenerateResponse:
        """Faces from seeds or latents."""
        data = await self._caller.call(
            "generator", "Generate", request.SerializeToString(), timeout
        )
        return generator_pb2.GenerateResponse.FromString(data)

    async def classify(
        self, request: quality_pb2.ClassifyRequest, timeout: float = 60
    ) -> quality_pb2.ClassifyResponse:
        """Which faces to keep."""
        data = await self._caller.call("quality", "Classify", request.SerializeToString(), timeout)
        return quality_pb2.ClassifyResponse.FromString(data)

    async def sketch(
        self, request: sketch_pb2.SketchRequest, timeout: float = 60
    ) -> sketch_pb2.SketchResponse:
        """Line drawings of pictures."""
        data = await self._caller.call("sketch", "Sketch", request.SerializeToString(), timeout)
        return sketch_pb2.SketchResponse.FromString(data)

    async def segment(
        self, request: segmentation_pb2.SegmentRequest, timeout: float = 60
    ) -> segmentation_pb2.SegmentResponse:
        """Class maps of pictures."""
        data = await self._caller.call(
            "segmentation", "Segment", request.SerializeToString(), timeout
        )
        return segmentation_pb2.SegmentResponse.FromString(data)

    async def translate(
        self, request: translator_pb2.TranslateRequest, timeout: float = 60
    ) -> translator_pb2.TranslateResponse:
        """Faces from a drawing or a label map."""
        data = await self._caller.call(
            "translator", "Translate", request.SerializeToString(), timeout
        )
        return translator_pb2.TranslateResponse.FromString(data)
