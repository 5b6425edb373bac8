"""`faceloom dataset select`: another dataset from the scores and faces of one that is there."""

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from faceloom import datasets
from faceloom.builds.options import DEFAULT_BLOCKS, BuildOptions
from faceloom.builds.stages import NONE
from faceloom.cli.build import build_here, text_of, until_interrupted
from faceloom.cli.build_display import BuildDisplay
from faceloom.cli.options import (
    AsJsonOption,
    EngineKind,
    EngineOption,
    ProfileOption,
    check_profile,
    connect,
    connect_services,
    print_result,
)
from faceloom.cli.spec import (
    FilterOption,
    ShardsOption,
    ThresholdOption,
    TopOption,
    spec_of,
    threshold_of,
)
from faceloom.clients.client import Faceloom
from faceloom.core.errors import UsageError
from faceloom.datasets.label_file import read_labels
from faceloom.datasets.place import output_of
from faceloom.datasets.spec import BuildSpec


def select(
    pool: Annotated[
        str, typer.Argument(help="Folder or s3://bucket/prefix of a finished dataset.")
    ],
    out: Annotated[str, typer.Option("--out", help="Folder or s3://bucket/prefix of the new one.")],
    threshold: ThresholdOption = None,
    top: TopOption = None,
    filter_name: FilterOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Accept the faces that people labelled keep: what label export writes."),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Let another quality model judge all candidates: NAME/VERSION of one that is served, or with"
            " --engine inprocess the folder of a model.",
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(help="As of faceloom build; those of the pool if not given.")
    ] = None,
    blocks: Annotated[
        int, typer.Option(help="Blocks of 64 candidates in flight.", min=1)
    ] = DEFAULT_BLOCKS,
    shards: ShardsOption = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Make the failed candidates of a finished selection again.")
    ] = False,
    engine: EngineOption = EngineKind.TORCHSERVE,
    profile: ProfileOption = None,
    as_json: AsJsonOption = False,
) -> None:
    """Make another dataset of the candidates of one that is there. Scores that it has are not computed again,
    and faces that it has are not drawn again. The same command takes up what was interrupted.

    Example: [bold]faceloom dataset select faces --threshold 0.9 --out better-faces[/bold]
    """
    check_profile(engine, profile)
    threshold = threshold_of(threshold, top, filter_name)
    decisions = [one for one in (threshold, top, labels) if one is not None]
    if len(decisions) > 1 or not (decisions or quality):
        raise UsageError("give one of --threshold, --top, --filter, --labels, or --quality MODEL")
    place, output = output_of(pool), output_of(out)
    if place == output:
        raise UsageError(f"{pool} is the pool itself; give another --out")
    dataset = datasets.open(place)
    kept = _kept(dataset, labels) if labels else {}
    spec = _spec(dataset, stages, threshold, top, kept if labels else None)
    folder = _model_folder(quality, engine)
    options = BuildOptions(
        blocks=blocks,
        shards=shards,
        retry_failed=retry_failed,
        pool=place,
        quality="" if folder or quality is None else quality,
        kept=tuple(sorted(kept.values())),
    )
    display = BuildDisplay(spec, quiet=as_json)
    connection = partial(_connect, engine, profile, folder)
    result = asyncio.run(until_interrupted(build_here(spec, output, options, display, connection)))
    print_result(result, as_json, text_of(result, out))


def _connect(engine: EngineKind, profile: str | None, quality: Path | None) -> Faceloom:
    if engine is EngineKind.TORCHSERVE:
        # Builds have their own patience with services.
        return connect_services(0)
    return connect(engine, {"quality": quality} if quality else None, profile)


def _model_folder(quality: str | None, engine: EngineKind) -> Path | None:
    if quality is None or not Path(quality).is_dir():
        return None
    if engine is EngineKind.TORCHSERVE:
        raise UsageError(
            f"--quality {quality} is a folder: add --engine inprocess, or give NAME/VERSION of a model that"
            " is served"
        )
    return Path(quality)


def _kept(pool: datasets.Dataset, labels: Path) -> dict[str, int]:
    """The ids that people keep, with their ordinals."""
    wanted = {face for face, label in read_labels(labels).items() if label == "keep"}
    records = (record for lines in (pool.faces(), pool.rejected()) for record in lines)
    found = {record.id: record.ordinal for record in records if record.id in wanted}
    if not wanted:
        raise UsageError(f"{labels} keeps no face")
    if missing := wanted - found.keys():
        raise UsageError(f"{labels}: {pool.place} has no face with the id {min(missing)!r}")
    return found


def _spec(
    pool: datasets.Dataset,
    stages: str | None,
    threshold: float | None,
    top: int | None,
    kept: Collection[str] | None,
) -> BuildSpec:
    here = pool.recipe.spec
    if here.candidates is None:
        raise UsageError(
            f"{pool.place} was built until {here.accepted} were accepted; a pool is built of --candidates N"
        )
    names = ",".join(here.stages) or NONE if stages is None else stages
    spec = spec_of(here.candidates, None, here.seed, here.truncation_psi, names, threshold, top)
    if kept is None:
        return spec
    listed = "".join(f"{face}\n" for face in sorted(kept))
    return replace(spec, kept=hashlib.sha256(listed.encode()).hexdigest())
