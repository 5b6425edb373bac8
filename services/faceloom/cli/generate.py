"""`faceloom generate`: seeds and latents to faces."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from faceloom.cli.files import OutFolderOption, check_folder, write_file
from faceloom.cli.one_service import ModelOption, OneService, RawOption, ServiceCall
from faceloom.cli.options import AsJsonOption, EngineKind, EngineOption
from faceloom.cli.outcome import CommandOutcome
from faceloom.cli.seeds import parse_seeds
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import UsageError
from faceloom.core.wording import counted
from faceloom.generator.v1 import generator_pb2 as pb

Given: TypeAlias = int | pb.Latent

_AT_ONCE = 64
_PSI = 0.7
# What fields of the request are called here.
_OPTIONS = {
    "truncation_psi": "--psi",
    "truncation_cutoff": "--cutoff",
    "latents": "--latents",
}


class Space(StrEnum):
    """What latents of one vector each are."""

    Z = "z"
    W = "w"


class NoiseMode(StrEnum):
    """Noise of the synthesis network."""

    CONST = "const"
    RANDOM = "random"
    NONE = "none"


def generate(
    out: OutFolderOption,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds and ranges, for example 0-63,100, each once, 0 to 2^64 - 1; 0-63 by default."
        ),
    ] = None,
    latents: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Latents in place of seeds, a .npy file: z or w, one row each, or w+, layers of rows each;"
            " or projected_w.npz, which NVlabs' projector writes.",
        ),
    ] = None,
    space: Annotated[Space | None, typer.Option(help="What rows of --latents are; z.")] = None,
    psi: Annotated[
        float | None, typer.Option(help="Truncation, 0 to 1.5; 0.7, but 1 for w and w+.")
    ] = None,
    cutoff: Annotated[
        int | None, typer.Option(help="Truncate only the first layers, so many.", min=0, max=18)
    ] = None,
    noise: Annotated[
        NoiseMode, typer.Option(help="Stored in the model, drawn by seed, or none.")
    ] = NoiseMode.CONST,
    model: ModelOption = None,
    raw: RawOption = None,
    engine: EngineOption = EngineKind.TORCHSERVE,
    as_json: AsJsonOption = False,
) -> None:
    """Generate one face per seed as OUT/seed<N>.png, or per latent as OUT/latent<N>.png.

    Example: [bold]faceloom generate --seeds 0-63 --psi 0.7 --out faces[/bold]
    """
    service = OneService("generator", engine, model, raw)
    given, count, of_w = _given(seeds, latents, space)
    check_folder(out)
    if latents:
        service.protect([latents], (out / _latent_name(place) for place in range(count)))
    else:
        service.protect([], [])
    outcome = CommandOutcome("generator", count, as_json)
    default_psi = 1.0 if of_w else _PSI
    base = pb.GenerateRequest(
        truncation_psi=default_psi if psi is None else psi,
        truncation_cutoff=cutoff,
        noise_mode=pb.NoiseMode.Value(f"NOISE_MODE_{noise.name}"),
        output_format=image_pb2.IMAGE_FORMAT_PNG,
        model_version=service.model_version,
    )
    written: list[str] = []

    def take(some: Sequence[Given], answer: pb.GenerateResponse) -> None:
        for place, (one, face) in enumerate(zip(some, answer.faces, strict=True), outcome.done):
            name = _latent_name(place) if isinstance(one, pb.Latent) else f"seed{one:07d}.png"
            file = write_file(out / name, face.image.data)
            if as_json:
                written.append(file)

    # A latent's random noise follows from its place in the call, which must not depend on what else fits in.
    at_once = 1 if latents and noise is NoiseMode.RANDOM else _AT_ONCE
    call = ServiceCall(
        at_once, _itself, partial(_request, base), Faceloom.generate, take, options=_OPTIONS
    )
    also = service.ask(given, call, outcome)
    outcome.report({"files": written, **also}, f"{counted(outcome.done, 'face')} in {out}")


def _given(
    seeds: str | None, latents: Path | None, space: Space | None
) -> tuple[Iterable[Given], int, bool]:
    """What faces are made of, how many there are, and whether they are w or w+."""
    if latents is None:
        if space is not None:
            raise UsageError("--space says what --latents are: give them")
        parsed = parse_seeds("0-63" if seeds is None else seeds)
        return parsed, parsed.count, False
    if seeds is not None:
        raise UsageError("give --seeds or --latents, not both")
    read = read_latents(latents, space)
    return read, len(read), read[0].space != pb.LATENT_SPACE_Z


def _itself(given: Given) -> Given:
    return given


def _latent_name(place: int) -> str:
    return f"latent{place:07d}.png"


def read_latents(file: Path, space: Space | None) -> list[pb.Latent]:
    """The latents of a .npy file, float32 or float64: z or w [N, dim], or w+ [N, layers, dim]; or the w+ of
    NVlabs' `projected_w.npz`.

    Args:
        file: The file. Nothing in it is executed.
        space: What rows [N, dim] are, z if it is not said; w+ is known by its shape.

    Raises:
        UsageError: It is no such file, or not all of its numbers are finite in float32.
    """
    # Not at the top: seeds do without.
    import numpy as np

    from faceloom.generator.projection import is_archive, read_projection

    try:
        # Mapped: a header may claim more numbers than there is memory for.
        array = (
            read_projection(file) if is_archive(file) else np.lib.format.open_memmap(file, mode="r")
        )
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except Exception:
        # numpy raises ValueError, EOFError, SyntaxError, TokenError, ... for other files.
        raise UsageError(f"{file} is not a .npy file of numbers") from None
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise UsageError(f"{file} holds {array.dtype}; give float32 or float64")
    if array.ndim not in (2, 3) or not array.size:
        raise UsageError(
            f"{file} is {list(array.shape)}; z and w are [N, dim], w+ is [N, layers, dim]"
        )
    if array.ndim == 3 and space is not None:
        raise UsageError(f"{file} is {list(array.shape)}, which is w+: leave out --space")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError(f"{file} holds NaN, infinity or numbers beyond float32")
    name = "W_PLUS" if array.ndim == 3 else (space or Space.Z).name
    kind = pb.LatentSpace.Value(f"LATENT_SPACE_{name}")
    return [pb.Latent(values=row.ravel(), space=kind) for row in values]


def _request(base: pb.GenerateRequest, some: Sequence[Given]) -> pb.GenerateRequest:
    request = pb.GenerateRequest(
        seeds=[one for one in some if isinstance(one, int)],
        latents=[one for one in some if isinstance(one, pb.Latent)],
    )
    request.MergeFrom(base)
    return request


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(generate)
