"""`faceloom jobs`: builds that many workers make together."""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceloom.builds.capacity import Fleet, Rate, Rates, Sizing, size
from faceloom.builds.options import DEFAULT_BLOCKS
from faceloom.builds.retrying import PATIENT_WITH_PODS
from faceloom.cli.options import AsJsonOption, print_result
from faceloom.cli.spec import (
    DEFAULT_STAGES,
    AcceptedOption,
    CandidatesOption,
    PsiOption,
    SeedOption,
    ShardsOption,
    StagesOption,
    ThresholdOption,
    spec_of,
)
from faceloom.clients.client import Faceloom
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.logs import log_json
from faceloom.core.tracing import start_tracing
from faceloom.datasets.place import output_of
from faceloom.runtime.server import until_stopped

if TYPE_CHECKING:
    from faceloom.builds.worker import Assignment

app = typer.Typer(no_args_is_help=True, help="Make a dataset with many workers.")

# What is under way when a worker is told to stop may take so long to end.
_STOP_SECONDS = 5.0


@app.command("work")
def work_command(
    output: Annotated[
        str,
        typer.Option(help="Folder of the dataset, shared by all workers, or s3://bucket/prefix."),
    ],
    index: Annotated[
        int | None,
        typer.Option(envvar="JOB_COMPLETION_INDEX", help="Which shard; a Job's pods know theirs."),
    ] = None,
    candidates: CandidatesOption = None,
    accepted: AcceptedOption = None,
    seed: SeedOption = 0,
    psi: PsiOption = 0.7,
    stages: StagesOption = DEFAULT_STAGES,
    threshold: ThresholdOption = None,
    shards: ShardsOption = None,
    blocks: Annotated[
        int, typer.Option(help="Blocks of 64 candidates in flight.", min=1)
    ] = DEFAULT_BLOCKS,
    retry_failed: Annotated[
        bool, typer.Option(help="Make the shard's failed candidates again.")
    ] = False,
    finalize: Annotated[
        bool, typer.Option(help="Put the dataset together when no shard is missing any more.")
    ] = False,
) -> None:
    """Make and commit one shard: of the build in the folder, or of one that is begun now with --candidates.

    Exit code 0: the shard is committed; 65: it can never be; 78: no worker started like this can do
    anything; 143: told to stop; 1: anything else, worth another try.

    Example: [bold]faceloom jobs work --output faces --candidates 1000 --shards 4 --index 0 --finalize[/bold]
    """
    # Not at the top: it needs numpy, and help is printed without.
    from faceloom.builds.worker import Assignment, Misconfigured, exit_code

    log_json()
    try:
        try:
            where, which = output_of(output), _given(index)
            new = candidates is not None or accepted is not None
            what = spec_of(candidates, accepted, seed, psi, stages, threshold) if new else None
        except UsageError as error:
            raise Misconfigured(str(error)) from None
        assignment = Assignment(where, which, what, shards, blocks, retry_failed, finalize)
        asyncio.run(_until_told_to_stop(_work(assignment)))
    except FaceloomError as error:
        typer.echo(f"faceloom: {error}", err=True)
        raise typer.Exit(exit_code(error)) from None


def _given(index: int | None) -> int:
    if index is None:
        raise UsageError("set JOB_COMPLETION_INDEX, as an Indexed Job does, or give --index")
    return index


async def _work(assignment: "Assignment") -> None:
    from faceloom.builds.worker import work

    start_tracing("build-worker")
    async with Faceloom.connect(wait=0) as faceloom:
        await work(assignment, faceloom, PATIENT_WITH_PODS)


async def _until_told_to_stop(working: Coroutine[Any, Any, None]) -> None:
    """Ends the process with 143 on SIGTERM: a Job would count 0 as done."""
    from faceloom.builds.worker import STOPPED

    worker = asyncio.create_task(working)
    stopping = asyncio.create_task(until_stopped())
    await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not worker.done():
        worker.cancel()
        await asyncio.wait({worker}, timeout=_STOP_SECONDS)
        # A thread may still be at files. It may be killed at any moment, so also at this one.
        os._exit(STOPPED)
    stopping.cancel()
    await worker


@app.command()
def plan(
    nodes: Annotated[int, typer.Option(help="Nodes that serve the models.", min=1)],
    candidates: CandidatesOption = None,
    accepted: AcceptedOption = None,
    stages: StagesOption = DEFAULT_STAGES,
    shards: ShardsOption = None,
    gpus_per_node: Annotated[
        int, typer.Option(help="GPUs of a node; give the --rate of such nodes, too.", min=0)
    ] = 0,
    parallelism: Annotated[int, typer.Option(help="Workers at the same time.", min=1)] = 32,
    poll: Annotated[float, typer.Option(help="Seconds between looks at the Job.", min=0.1)] = 5.0,
    object_store: Annotated[
        bool, typer.Option("--object-store", help="The dataset goes to s3://, not to a volume.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(help="Candidates per second of one node.", min=1e-6)
    ] = None,
    accepted_share: Annotated[
        float | None, typer.Option(help="Of candidates, 0 to 1.", min=1e-6, max=1)
    ] = None,
    face_bytes: Annotated[
        float | None, typer.Option(help="Of an accepted face, pictures and latents.", min=0)
    ] = None,
    candidate_bytes: Annotated[
        float | None, typer.Option(help="Of every candidate, in manifests and lists.", min=0)
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """Say what a build will take: shards, pods, hours, storage, requests. Measured rates unless given.

    Example: [bold]faceloom jobs plan --candidates 1000000 --nodes 32 --gpus-per-node 1 --rate 379[/bold]
    """
    spec = spec_of(candidates, accepted, stages=stages)
    if gpus_per_node and rate is None:
        raise UsageError(
            "--gpus-per-node: give --rate, too; the rate that is known was measured without a GPU"
        )
    given = {
        "candidates_per_second": rate,
        "accepted_share": accepted_share,
        "bytes_per_face": face_bytes,
        "bytes_per_candidate": candidate_bytes,
    }
    rates = Rates(
        **{name: Rate(value, "given") for name, value in given.items() if value is not None}
    )
    sizing = size(spec, shards, rates, Fleet(nodes, gpus_per_node, parallelism, poll, object_store))
    print_result(asdict(sizing) | {"rates": asdict(rates)}, as_json, _text(sizing, rates))


def _text(sizing: Sizing, rates: Rates) -> str:
    lines = [
        ("candidates", f"{sizing.candidates:,}, {sizing.accepted:,} accepted"),
        (
            "shards",
            f"{sizing.shards:,} of {sizing.blocks:,} blocks; one pod each, more if pods die",
        ),
        ("pods at once", f"{sizing.pods_at_once:,}"),
        ("time", _time(sizing.hours)),
        ("of all nodes", _time(sizing.node_hours)),
        *([("of all GPUs", _time(sizing.gpu_hours))] if sizing.gpu_hours else []),
        (
            "dataset",
            f"{sizing.dataset_bytes / 1e9:,.2f} GB, {sizing.dataset_files:,} files of faces",
        ),
        ("store", f"{sizing.store_requests:,} requests, besides writing pictures to a volume"),
        ("API server", f"{sizing.api_requests:,} requests of the pipeline service"),
        ("services", f"{sizing.service_calls:,} calls"),
        ("", ""),
        *(
            (name.replace("_", " "), f"{one['value']:g}  ({one['source']})")
            for name, one in asdict(rates).items()
        ),
    ]
    return "\n".join(f"{name:<24}{value}".rstrip() for name, value in lines)


def _time(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="jobs")
