"""`faceloom.pipeline.v1.PipelineService`: checks requests and translates between the API and the builds.

It raises `ServiceError`s; the server's interceptor makes status of them.
"""

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from faceloom.builds.options import DEFAULT_BLOCKS
from faceloom.builds.service.records import Build, BuildOrder
from faceloom.builds.service.registry import Builds
from faceloom.builds.service.spec_messages import spec_of, spec_to_proto
from faceloom.core.errors import InvalidArgument, UsageError
from faceloom.datasets.place import Output, output_of
from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.pipeline.v1 import pipeline_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["PipelineService"]

MAX_BLOCKS = 64
MAX_SHARDS = 100_000
MAX_PAGE = 1000
DEFAULT_PAGE = 50

_TOKEN = re.compile(r"([0-9]{1,20}):([0-9a-f]{16})")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class PipelineServicer(pipeline_pb2_grpc.PipelineServiceServicer):
    """The API over the builds of one service."""

    def __init__(self, builds: Builds) -> None:
        self._builds = builds

    async def CreateBuild(  # noqa: N802 - gRPC's names
        self, request: pb.CreateBuildRequest, context: Any
    ) -> pb.CreateBuildResponse:
        """Starts a build, or takes one up."""
        return pb.CreateBuildResponse(build=to_proto(self._builds.create(order_of(request))))

    async def GetBuild(  # noqa: N802
        self, request: pb.GetBuildRequest, context: Any
    ) -> pb.GetBuildResponse:
        """Reads one build."""
        return pb.GetBuildResponse(build=to_proto(self._builds.get(request.id)))

    async def ListBuilds(  # noqa: N802
        self, request: pb.ListBuildsRequest, context: Any
    ) -> pb.ListBuildsResponse:
        """Lists builds, newest first."""
        if request.page_size > MAX_PAGE:
            raise InvalidArgument(f"page_size is at most {MAX_PAGE}", field="page_size")
        size = request.page_size or DEFAULT_PAGE
        builds = self._builds.newest_first()
        if request.page_token:
            last = _read_token(request.page_token)
            builds = [build for build in builds if build.age < last]
        page, more = builds[:size], len(builds) > size
        return pb.ListBuildsResponse(
            builds=map(to_proto, page), next_page_token=_token(page[-1]) if more else ""
        )

    async def WatchBuild(  # noqa: N802
        self, request: pb.WatchBuildRequest, context: Any
    ) -> AsyncIterator[pb.WatchBuildResponse]:
        """Sends the build whenever it changed, until it has ended."""
        async for build in self._builds.watch(request.id):
            yield pb.WatchBuildResponse(build=to_proto(build))

    async def CancelBuild(  # noqa: N802
        self, request: pb.CancelBuildRequest, context: Any
    ) -> pb.CancelBuildResponse:
        """Stops a build."""
        build = await self._builds.cancel(request.id, request.unless_watched)
        return pb.CancelBuildResponse(build=to_proto(build))

    async def DeleteBuild(  # noqa: N802
        self, request: pb.DeleteBuildRequest, context: Any
    ) -> pb.DeleteBuildResponse:
        """Forgets a build."""
        await self._builds.delete(request.id, request.delete_files)
        return pb.DeleteBuildResponse()


def order_of(request: pb.CreateBuildRequest) -> BuildOrder:
    """What a request asks for.

    Raises:
        InvalidArgument: Names the field that is wrong.
    """
    if not _REQUEST_ID.fullmatch(request.request_id):
        raise InvalidArgument(
            "give 1 to 128 letters, digits, dots, dashes and underscores", field="request_id"
        )
    for field, value, most in (
        ("shards", request.shards, MAX_SHARDS),
        ("jobs", request.jobs, MAX_BLOCKS),
    ):
        if value > most:
            raise InvalidArgument(f"{field} is at most {most}", field=field)
    return BuildOrder(
        request_id=request.request_id,
        spec=spec_of(request.spec),
        output=_output_of(request.output, "output"),
        shards=request.shards or None,
        blocks=request.jobs or DEFAULT_BLOCKS,
        retry_failed=request.retry_failed,
        pool=_output_of(request.pool, "pool") if request.pool else None,
    )


def _output_of(text: str, field: str) -> Output:
    folder = Path(text)
    if "://" in text:
        try:
            return output_of(text)
        except UsageError as error:
            raise InvalidArgument(str(error), field=field) from None
    if not folder.is_absolute() or ".." in folder.parts or "\0" in text:
        raise InvalidArgument(
            "give an absolute folder without '..', or s3://bucket/prefix", field=field
        )
    return folder


def to_proto(build: Build) -> pb.Build:
    """A build as the API shows it."""
    record, progress = build.record, build.progress
    order, end = record.order, record.end
    return pb.Build(
        id=build.id,
        spec=spec_to_proto(order.spec),
        output=str(order.output),
        state=pb.BuildState.Value(f"BUILD_STATE_{build.state.value}"),
        progress=pb.BuildProgress(
            planned=progress.planned,
            accepted=progress.accepted,
            rejected=progress.rejected,
            failed=progress.failed,
            processed=progress.processed,
            shards_committed=progress.shards_committed,
            shards=progress.shards,
            images_per_second=progress.images_per_second,
            kept=progress.kept,
            stage_seconds=progress.seconds,
        ),
        recipe_digest=progress.recipe_digest,
        dataset_digest=build.dataset_digest,
        error=end.error if end else "",
        create_time=_time(record.create_time_ns),
        end_time=_time(end.time_ns) if end else None,
        notes=progress.notes,
        watchers=0 if end else build.watchers.total(),
    )


def _time(nanoseconds: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(nanoseconds)
    return stamp


def _token(build: Build) -> str:
    """Points behind a build by what never changes, so pages stay whole while builds come and go."""
    created, build_id = build.age
    return base64.urlsafe_b64encode(f"{created}:{build_id}".encode()).decode()


def _read_token(token: str) -> tuple[int, str]:
    try:
        found = _TOKEN.fullmatch(base64.urlsafe_b64decode(token).decode())
    except ValueError:
        found = None
    if found is None:
        raise InvalidArgument("give a next_page_token as it was answered", field="page_token")
    return int(found[1]), found[2]
