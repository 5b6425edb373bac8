"""The options that say which dataset a build makes: its size, its seeds, their truncation."""

from enum import StrEnum
from typing import Annotated

import typer

from faceloom.builds.stages import STAGES as ALL_STAGES
from faceloom.builds.stages import stage_calls, stage_names
from faceloom.core.errors import InvalidArgument, UsageError
from faceloom.datasets.spec import STAGES, BuildSpec

DEFAULT_STAGES = ",".join(STAGES)

CandidatesOption = Annotated[int | None, typer.Option(help="Generate exactly this many faces.")]
AcceptedOption = Annotated[
    int | None, typer.Option(help="Generate until exactly this many are accepted.")
]
SeedOption = Annotated[int, typer.Option(help="Which stream of seeds, 0 to 2^32 - 1.")]
PsiOption = Annotated[float, typer.Option(help="Truncation, 0 to 1.5.")]
StagesOption = Annotated[
    str,
    typer.Option(
        help=f"What to make of accepted faces, separated by commas: {', '.join(ALL_STAGES)};"
        " none for faces alone."
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        help="Accept scores from it on, 0 to 1, whatever the quality model's own threshold."
    ),
]
TopOption = Annotated[
    int | None,
    typer.Option(help="Accept so many of all candidates, by score; 0 keeps their scores alone."),
]


class NoFilter(StrEnum):
    """What `--filter` may be."""

    NONE = "none"


FilterOption = Annotated[
    NoFilter | None, typer.Option("--filter", help="Accept every candidate; scores are kept.")
]
ShardsOption = Annotated[int | None, typer.Option(help="How many shards to commit in.", min=1)]


def threshold_of(threshold: float | None, top: int | None, named: NoFilter | None) -> float | None:
    """The threshold that --filter none stands for, or the one that is given.

    Raises:
        UsageError: More than one of them is given, or --top with one.
    """
    given = [option for option in (threshold, top, named) if option is not None]
    if len(given) > 1:
        raise UsageError("give one of --threshold, --top and --filter")
    return 0.0 if named else threshold


def spec_of(
    candidates: int | None,
    accepted: int | None = None,
    seed: int = 0,
    psi: float = 0.7,
    stages: str = DEFAULT_STAGES,
    threshold: float | None = None,
    top: int | None = None,
) -> BuildSpec:
    """What the options ask for.

    Raises:
        UsageError: One is out of its range, or it is not exactly one size; says which option.
    """
    if (candidates is None) == (accepted is None):
        raise UsageError("give either --candidates N or --accepted N")
    try:
        names = stage_names(stages.split(","))
        stage_calls(names)
        return BuildSpec(candidates, accepted, seed, psi, names, threshold, top)
    except InvalidArgument as error:
        if error.field == "spec.stages":
            raise UsageError(f"--stages {stages}: {error.message}") from None
        # It begins with the field that is wrong.
        raise UsageError(f"--{error.message.removeprefix('truncation_')}") from None
