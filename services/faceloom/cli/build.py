"""`faceloom build`: a dataset made, here or by the pipeline service."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Annotated, Any, TypeVar

import typer

from faceloom.builds.options import BuildOptions
from faceloom.cli.build_display import AGAIN, BuildDisplay, outcome, print_notes
from faceloom.cli.build_service import build_in_service
from faceloom.cli.faults import INTERRUPTED, Interrupted
from faceloom.cli.options import (
    AsJsonOption,
    EngineKind,
    EngineOption,
    ProfileOption,
    check_profile,
    connect,
    print_result,
)
from faceloom.cli.spec import (
    DEFAULT_STAGES,
    AcceptedOption,
    CandidatesOption,
    FilterOption,
    PsiOption,
    SeedOption,
    ShardsOption,
    StagesOption,
    ThresholdOption,
    TopOption,
    spec_of,
    threshold_of,
)
from faceloom.clients.client import Faceloom
from faceloom.datasets.place import Output, output_of
from faceloom.datasets.spec import BuildSpec

T = TypeVar("T")


def build(
    out: Annotated[
        str, typer.Option("--out", help="Folder of the dataset, or s3://bucket/prefix.")
    ],
    candidates: CandidatesOption = None,
    accepted: AcceptedOption = None,
    seed: SeedOption = 0,
    psi: PsiOption = 0.7,
    stages: StagesOption = DEFAULT_STAGES,
    threshold: ThresholdOption = None,
    top: TopOption = None,
    filter_name: FilterOption = None,
    blocks: Annotated[int, typer.Option(help="Blocks of 64 candidates in flight.", min=1)] = 4,
    shards: ShardsOption = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Make the failed candidates of a finished build again.")
    ] = False,
    engine: EngineOption = EngineKind.TORCHSERVE,
    profile: ProfileOption = None,
    as_json: AsJsonOption = False,
) -> None:
    """Build a dataset of faces, sketches and layouts. The same command takes up what was interrupted; a
    larger number makes a finished dataset grow. `faceloom dataset select` makes another one of its scores.

    Example: [bold]faceloom build --candidates 1000 --out faces[/bold]
    """
    threshold = threshold_of(threshold, top, filter_name)
    spec = spec_of(candidates, accepted, seed, psi, stages, threshold, top)
    check_profile(engine, profile)
    output = output_of(out)
    options = BuildOptions(blocks=blocks, shards=shards, retry_failed=retry_failed)
    display = BuildDisplay(spec, quiet=as_json)
    making = (
        build_here(spec, output, options, display, partial(connect, engine, profile=profile))
        if engine is EngineKind.INPROCESS
        else build_in_service(spec, output, options, display)
    )
    result = asyncio.run(until_interrupted(making))
    print_result(result, as_json, text_of(result, out))


def text_of(result: Mapping[str, Any], out: str) -> str:
    """How a build ended, for people."""
    return (
        f"{result['planned']} planned = {result['accepted']} accepted + {result['rejected']} rejected"
        f" + {result['failed']} failed; {result['images_per_second']:.1f} candidates/s\n"
        f"dataset {result['dataset_digest']}\n{out}"
    )


async def until_interrupted(making: Coroutine[Any, Any, T]) -> T:
    """Ctrl-C ends a build when what it is at is whole. A second one ends the process at once, as kill -9."""
    task = asyncio.ensure_future(making)

    def interrupt() -> None:
        if task.cancelling():
            os._exit(INTERRUPTED)
        typer.echo(
            "stopping; Ctrl-C again ends at once: shards that are not committed are lost", err=True
        )
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    try:
        return await task
    except asyncio.CancelledError:
        raise Interrupted(f"interrupted; {AGAIN}") from None


async def build_here(
    spec: BuildSpec,
    output: Output,
    options: BuildOptions,
    display: BuildDisplay,
    connection: Callable[[], Faceloom],
) -> dict[str, Any]:
    """Runs the build in this process, with the services that are connected to."""
    started = time.monotonic()
    async with connection() as faceloom:
        # Not at the top: it needs numpy, which commands that only ask the service do without. After the
        # engine, so that of what is missing the extra is named that brings all.
        from faceloom.builds.run import run_build

        with display.bar:
            result = await run_build(
                spec,
                output,
                faceloom,
                options,
                lambda now: display.show(now.processed, now.kept, now.images_per_second),
            )
    print_notes(result.notes)
    progress = result.progress
    return outcome(
        output, result.summary, progress.images_per_second, dict(progress.seconds), started
    )


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(build)
