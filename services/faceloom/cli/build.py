"""`faceloom build`: a dataset made, here or by the pipeline service."""

import asyncio
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from faceloom.cli.options import (
    AsJson,
    Engine,
    EngineKind,
    Profile,
    check_profile,
    connect,
    connect_pipeline,
    print_result,
)
from faceloom.pipeline.client import PipelineClient
from faceloom.pipeline.options import Options
from faceloom.pipeline.spec import BuildSpec
from faceloom.pipeline.storage.output import Output, output_of
from faceloom.pipeline.summary import Summary, read_summary
from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.runtime.errors import FaceloomError, Unavailable, UsageError
from faceloom.runtime.tracing import start_tracing

# How long the pipeline service may stay away, for example while it is being restarted.
_PATIENCE_SECONDS = 60.0


class BuildDisplay:
    """The progress bar of a build: rate, accepted share, time left."""

    def __init__(self, spec: BuildSpec, quiet: bool) -> None:
        self._spec = spec
        console = Console(stderr=True, quiet=quiet)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[rate]:.1f}/s"),
            TextColumn("accepted {task.fields[share]:.0%}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        what = "candidates" if spec.candidates else "accepted"
        self._task: TaskID = self.bar.add_task(what, total=spec.target, rate=0.0, share=0.0)

    def show(self, processed: int, kept: int, rate: float) -> None:
        """Moves the bar."""
        done = processed if self._spec.candidates else kept
        share = kept / processed if processed else 0.0
        self.bar.update(self._task, completed=done, rate=rate, share=share)


def build(
    out: Annotated[
        str, typer.Option("--out", help="Folder of the dataset, or s3://bucket/prefix.")
    ],
    candidates: Annotated[
        int | None, typer.Option(help="Generate exactly this many faces.")
    ] = None,
    accepted: Annotated[
        int | None, typer.Option(help="Generate until exactly this many are accepted.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which stream of seeds, 0 to 2^32 - 1.")] = 0,
    psi: Annotated[float, typer.Option(help="Truncation, 0 to 1.5.")] = 0.7,
    jobs: Annotated[int, typer.Option(help="Blocks of 64 candidates in flight.", min=1)] = 4,
    shards: Annotated[int | None, typer.Option(help="How many shards to commit in.", min=1)] = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Make the failed candidates of a finished build again.")
    ] = False,
    engine: Engine = EngineKind.TORCHSERVE,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Build a dataset of faces, sketches and layouts. The same command takes up what was interrupted.

    Example: [bold]faceloom build --candidates 1000 --out faces[/bold]
    """
    if (candidates is None) == (accepted is None):
        raise UsageError("give either --candidates N or --accepted N")
    check_profile(engine, profile)
    try:
        spec = BuildSpec(candidates, accepted, seed, psi)
    except FaceloomError as error:
        raise UsageError(str(error)) from None
    output = output_of(out)
    options = Options(jobs=jobs, shards=shards, retry_failed=retry_failed)
    display = BuildDisplay(spec, quiet=as_json)
    making = (
        build_here(spec, output, options, display, profile)
        if engine is EngineKind.INPROCESS
        else build_in_service(spec, output, options, display)
    )
    result = asyncio.run(making)
    text = (
        f"{result['planned']} planned = {result['accepted']} accepted + {result['rejected']} rejected"
        f" + {result['failed']} failed; {result['images_per_second']:.1f} candidates/s\n"
        f"dataset {result['dataset_digest']}\n{out}"
    )
    print_result(result, as_json, text)


async def build_here(
    spec: BuildSpec,
    output: Output,
    options: Options,
    display: BuildDisplay,
    profile: str | None = None,
) -> dict[str, Any]:
    """Runs the build in this process, with models in this process."""
    started = time.monotonic()
    async with connect(EngineKind.INPROCESS, profile=profile) as faceloom:
        # Not at the top: it needs numpy, which commands that only ask the service do without.
        from faceloom.pipeline.run import run_build

        with display.bar:
            result = await run_build(
                spec,
                output,
                faceloom,
                options,
                lambda now: display.show(now.processed, now.kept, now.images_per_second),
            )
    _print_notes(result.notes)
    progress = result.progress
    return _outcome(
        output, result.summary, progress.images_per_second, dict(progress.seconds), started
    )


async def build_in_service(
    spec: BuildSpec, output: Output, options: Options, display: BuildDisplay
) -> dict[str, Any]:
    """Asks the pipeline service for the build and follows it. Ctrl-C cancels it there.

    Raises:
        FaceloomError: The build failed or was cancelled.
    """
    start_tracing("cli")
    started = time.monotonic()
    request = pb.CreateBuildRequest(
        request_id=uuid.uuid4().hex,
        spec=spec_message(spec),
        output=str(output),
        shards=options.shards or 0,
        jobs=options.jobs,
        retry_failed=options.retry_failed,
    )
    async with connect_pipeline() as client:
        made = await client.create(request)
        try:
            with display.bar:
                last = await _follow(client, made, display)
        except asyncio.CancelledError:
            await client.cancel(made.id)
            raise FaceloomError("cancelled; the same command takes the build up again") from None
    if last.state != pb.BUILD_STATE_SUCCEEDED:
        cause = last.error or "it was cancelled"
        raise FaceloomError(f"{cause}; the same command takes the build up again")
    _print_notes(last.notes)
    progress = last.progress
    summary = _summary_of(last)
    if isinstance(output, Path) and read_summary(output) != summary:
        raise FaceloomError(f"the service finished the build, but {output} is not here")
    return _outcome(
        output, summary, progress.images_per_second, dict(progress.stage_seconds), started
    )


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


def spec_message(spec: BuildSpec) -> pb.BuildSpec:
    """The spec as the pipeline service takes it."""
    message = pb.BuildSpec(seed=spec.seed, truncation_psi=spec.truncation_psi)
    if spec.candidates is not None:
        message.candidates = spec.candidates
    else:
        message.accepted = spec.target
    return message


async def _follow(client: PipelineClient, made: pb.Build, display: BuildDisplay) -> pb.Build:
    """Watches until the end. A service that is restarted takes the build up, and so does this."""
    last = made
    lost = 0.0
    while True:
        try:
            async for last in client.watch(made.id):
                lost = 0.0
                now = last.progress
                display.show(now.processed, now.kept, now.images_per_second)
            return last
        except Unavailable:
            lost = lost or time.monotonic()
            if time.monotonic() - lost > _PATIENCE_SECONDS:
                raise
            await asyncio.sleep(0.5)


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _outcome(
    output: Output, summary: Summary, rate: float, seconds: dict[str, float], started: float
) -> dict[str, Any]:
    return {
        "output": str(output),
        **vars(summary),
        "images_per_second": round(rate, 3),
        "elapsed_seconds": round(time.monotonic() - started, 3),
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
    }


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(build)
