"""A build that the pipeline service makes: ordered, followed, and left."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

from faceloom.builds.options import BuildOptions
from faceloom.builds.service.records import build_id
from faceloom.builds.service.spec_messages import spec_to_proto
from faceloom.cli.build_display import AGAIN, BuildDisplay, outcome, print_notes
from faceloom.cli.faults import Interrupted
from faceloom.cli.options import connect_pipeline, wait_seconds
from faceloom.clients.pipeline import PipelineClient
from faceloom.core.errors import FaceloomError, Unavailable
from faceloom.core.request_id import carrying_request_id
from faceloom.core.tracing import start_tracing
from faceloom.datasets.place import Output
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.summary import Summary, read_summary
from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.runtime.retrying import delay


async def build_in_service(
    spec: BuildSpec, output: Output, options: BuildOptions, display: BuildDisplay
) -> dict[str, Any]:
    """Asks the pipeline service for the build and follows it.

    Being cancelled (Ctrl-C) cancels the build there, unless another command began it or others watch it.

    Raises:
        Interrupted: This was cancelled; says what became of the build.
        FaceloomError: The build failed or was cancelled.
    """
    start_tracing("cli")
    started = time.monotonic()
    request = pb.CreateBuildRequest(
        request_id=uuid.uuid4().hex,
        spec=spec_to_proto(spec),
        output=str(output),
        shards=options.shards or 0,
        jobs=options.blocks,
        retry_failed=options.retry_failed,
    )
    with carrying_request_id():
        async with connect_pipeline() as client:
            made = await client.create(request)
            try:
                with display.bar:
                    last = await _follow(client, made, display)
            except asyncio.CancelledError:
                began = made.id == build_id(request.request_id)
                raise Interrupted(await _leave(client, made.id, began)) from None
    if last.state != pb.BUILD_STATE_SUCCEEDED:
        raise FaceloomError(f"{last.error or 'it was cancelled'}; {AGAIN}")
    print_notes(last.notes)
    progress = last.progress
    summary = _summary_of(last)
    if isinstance(output, Path):
        here = read_summary(output)
        if here is None or here.dataset_digest != summary.dataset_digest:
            raise FaceloomError(f"the service finished the build, but {output} is not here")
    return outcome(
        output, summary, progress.images_per_second, dict(progress.stage_seconds), started
    )


async def _leave(client: PipelineClient, build: str, began: bool) -> str:
    """Stops a build if it is nobody else's; says what became of it."""
    if not began:
        return f"build {build} goes on in the pipeline service: another command began it"
    left = await client.cancel(build, unless_watched=True)
    if left.state == pb.BUILD_STATE_CANCELLED:
        return f"cancelled; {AGAIN}"
    if left.HasField("end_time"):
        return f"build {build} had ended before it could be cancelled"
    return f"build {build} goes on in the pipeline service: others watch it"


def _summary_of(build: pb.Build) -> Summary:
    counts = build.progress
    return Summary(
        counts.planned,
        counts.accepted,
        counts.rejected,
        counts.failed,
        build.recipe_digest,
        build.dataset_digest,
    )


async def _follow(client: PipelineClient, made: pb.Build, display: BuildDisplay) -> pb.Build:
    """Watches until the end. A service that is restarted takes the build up, and so does this."""
    last = made
    lost, tries = 0.0, 0
    while True:
        try:
            async for last in client.watch(made.id):
                lost, tries = 0.0, 0
                now = last.progress
                display.show(now.processed, now.kept, now.images_per_second)
            return last
        except Unavailable as error:
            lost = lost or time.monotonic()
            tries += 1
            if time.monotonic() - lost > wait_seconds():
                raise
            await asyncio.sleep(delay(tries, error.retry_after))
