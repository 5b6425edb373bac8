"""A client of the pipeline service, for the command line and the studio."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self, cast

from google.protobuf.message import Message

from faceloom.core.request_id import (
    REQUEST_ID,
    carrying_request_id,
    current_request_id,
    new_request_id,
)
from faceloom.core.tracing import calling
from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.pipeline.v1 import pipeline_pb2_grpc
from faceloom.runtime.channel import LastingChannel
from faceloom.runtime.retrying import Retrying
from faceloom.runtime.targets import targets_at

_SERVICE = pb.DESCRIPTOR.services_by_name["PipelineService"].full_name
_SECONDS = 30


class PipelineClient:
    """Starts, follows and stops builds.

    Args:
        target: gRPC target; where `faceloom up` puts the pipeline service when not given.
        port_offset: What is added to that port; the environment's offset when not given.
        retrying: What happens to calls that the service cannot take.
    """

    def __init__(
        self,
        target: str | None = None,
        port_offset: int | None = None,
        retrying: Retrying | None = None,
    ) -> None:
        target = target or targets_at(port_offset).of("pipeline")
        self._channel = LastingChannel("pipeline", target)
        self._retrying = retrying or Retrying()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def create(self, request: pb.CreateBuildRequest) -> pb.Build:
        """Starts a build, or takes one up.

        Raises:
            ServiceError: The service refused, or is not there.
        """
        answer = await self._call("CreateBuild", request)
        return cast(pb.Build, answer.build)

    async def newest(self, count: int) -> Sequence[pb.Build]:
        """At most that many builds, the newest first.

        Raises:
            ServiceError: The service is not there.
        """
        answer = await self._call("ListBuilds", pb.ListBuildsRequest(page_size=count))
        return cast(Sequence[pb.Build], answer.builds)

    async def watch(self, build_id: str) -> AsyncIterator[pb.Build]:
        """The build as it changes, until it has ended.

        Raises:
            ServiceError: The service is gone; the build goes on when it is back.
        """
        metadata = [(REQUEST_ID, current_request_id() or new_request_id())]
        with self._channel.for_one_call() as channel:
            stub: Any = pipeline_pb2_grpc.PipelineServiceStub(channel)
            request = pb.WatchBuildRequest(id=build_id)
            async for answer in stub.WatchBuild(request, metadata=metadata):
                yield answer.build

    async def cancel(self, build_id: str, unless_watched: bool = False) -> pb.Build:
        """Asks a build to stop.

        Args:
            build_id: Which.
            unless_watched: Let it go on if anybody watches it but this request.

        Returns:
            The build as it stands.

        Raises:
            ServiceError: There is no such build.
        """
        request = pb.CancelBuildRequest(id=build_id, unless_watched=unless_watched)
        answer = await self._call("CancelBuild", request)
        return cast(pb.Build, answer.build)

    async def _call(self, method: str, request: Message) -> Any:
        return await self._retrying.call("pipeline", lambda: self._send(method, request))

    async def _send(self, method: str, request: Message) -> Any:
        with (
            carrying_request_id() as request_id,
            calling(_SERVICE, method) as carried,
            self._channel.for_one_call() as channel,
        ):
            rpc = getattr(pipeline_pb2_grpc.PipelineServiceStub(channel), method)
            metadata = [(REQUEST_ID, request_id), *carried.items()]
            return await rpc(request, timeout=_SECONDS, metadata=metadata)
