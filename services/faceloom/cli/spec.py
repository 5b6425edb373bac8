"""The options that say which dataset a build makes: its size, its seeds, their truncation."""

from typing import Annotated

import typer

from faceloom.core.errors import InvalidArgument, UsageError
from faceloom.datasets.spec import BuildSpec

Candidates = Annotated[int | None, typer.Option(help="Generate exactly this many faces.")]
Accepted = Annotated[
    int | None, typer.Option(help="Generate until exactly this many are accepted.")
]
Seed = Annotated[int, typer.Option(help="Which stream of seeds, 0 to 2^32 - 1.")]
Psi = Annotated[float, typer.Option(help="Truncation, 0 to 1.5.")]
Shards = Annotated[int | None, typer.Option(help="How many shards to commit in.", min=1)]


def spec_of(
    candidates: int | None, accepted: int | None = None, seed: int = 0, psi: float = 0.7
) -> BuildSpec:
    """What the options ask for.

    Raises:
        UsageError: One is out of its range, or it is not exactly one size; says which option.
    """
    if (candidates is None) == (accepted is None):
        raise UsageError("give either --candidates N or --accepted N")
    try:
        return BuildSpec(candidates, accepted, seed, psi)
    except InvalidArgument as error:
        # It begins with the field that is wrong.
        raise UsageError(f"--{error.message.removeprefix('truncation_')}") from None
