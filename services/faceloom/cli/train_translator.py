"""`faceloom train translator`, and what makes one model of several runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from faceloom.cli.options import AsJsonOption, TranslatorTask, print_result
from faceloom.core.errors import UsageError
from faceloom.datasets.place import local_dataset
from faceloom.store.profile import model_folder


class TranslatorProfile(StrEnum):
    """The names of faceloom.training.translator.options.PROFILES."""

    TINY = "tiny"
    FULL = "full"


def translator(
    task: Annotated[TranslatorTask, typer.Option(help="What is translated to faces.")],
    dataset: Annotated[
        Path, typer.Option(parser=local_dataset, help="What `faceloom build` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on from it.")],
    profile: Annotated[
        TranslatorProfile, typer.Option(help="Sizes of the networks, and whose generator decodes.")
    ] = TranslatorProfile.TINY,
    steps: Annotated[int | None, typer.Option(help="Updates of the weights.")] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs per update, of all processes.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Compute a batch in so many parts, for less memory.")
    ] = None,
    latent_weight: Annotated[
        float | None, typer.Option(help="Of the distance to the true latents; 0 is plain pSp.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    lpips_weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="AlexNet, and again for LPIPS' heads, files or imported: pSp's perceptual loss."
        ),
    ] = None,
    id_weights: Annotated[
        Path | None,
        typer.Option(help="IR-SE50, a file or imported: adds pSp's identity loss."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train an encoder of the translator on a built dataset; alone, or in processes that torchrun starts.

    Example: [bold]faceloom train translator --task sketch --dataset faces --out run[/bold]
    """
    from faceloom.training.translator.distributed import first_process
    from faceloom.training.translator.options import PROFILES
    from faceloom.training.translator.train import train

    changes = {
        "steps": steps,
        "batch": batch,
        "accumulate": accumulate,
        "latent_weight": latent_weight,
        "precision": precision,
        "seed": seed,
    }
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    options = replace(PROFILES[profile.value], **given)
    with _bars(hidden=not first_process()) as tell:
        train(
            task.value,
            dataset,
            options,
            out,
            model_folder(profile.value, "generator"),
            lpips_weights or (),
            id_weights,
            device,
            tell,
        )


def join_translators(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of `train translator`, one per task.")
    ],
    out: Annotated[Path, typer.Option(help="The model's folder in the store.")],
    profile: Annotated[
        TranslatorProfile, typer.Option(help="Whose generator the runs were trained with.")
    ] = TranslatorProfile.TINY,
    as_json: AsJsonOption = False,
) -> None:
    """Put the best encoders of several runs and their decoder into one model, which a service can load.

    Example: [bold]faceloom train join-translators runs/sketch runs/segmentation --out translator[/bold]
    """
    from faceloom.training.translator.export import export

    best = [run / "best.pt" for run in runs]
    for path in best:
        if not path.is_file():
            raise UsageError(f"{path} is not there; give folders of `faceloom train translator`")
    export(best, model_folder(profile.value, "generator"), out)
    print_result({"model": str(out)}, as_json, f"model    {out}")


@contextmanager
def _bars(hidden: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for everything that a training tells of: (what, done, in all)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    hidden = hidden or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden) as bars:
        known = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what)
            bars.update(known[what], completed=done, total=total)

        yield tell
