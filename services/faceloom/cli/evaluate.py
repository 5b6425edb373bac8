"""`faceloom evaluate`: a model against baselines on faces it has not seen."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from faceloom.cli.options import AsJsonOption, TranslatorTask, print_result
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.datasets.place import local_dataset
from faceloom.store.profile import model_folder

app = typer.Typer(help="Measure models on held-out faces.", no_args_is_help=True)


class Split(StrEnum):
    """The parts of a dataset that nothing is trained on."""

    VALIDATION = "validation"
    TEST = "test"


# Without it, Typer would take a group of one command for that command.
@app.callback()
def evaluate() -> None:
    """Measure models on held-out faces."""


@app.command()
def translator(
    task: Annotated[TranslatorTask, typer.Option(help="Which of the translator's encoders.")],
    dataset: Annotated[
        Path, typer.Option(parser=local_dataset, help="What `faceloom build` wrote.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the report.")],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a translator; the profile's.")
    ] = None,
    baseline_model: Annotated[
        Path | None, typer.Option(help="A translator trained without latent supervision.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Which faces.")] = Split.TEST,
    limit: Annotated[int | None, typer.Option(help="At most that many faces.", min=2)] = None,
    variants: Annotated[int, typer.Option(help="Styles per face.", min=2, max=16)] = 4,
    profile: Annotated[str, typer.Option(help="Whose models translate and look.")] = "tiny",
    as_json: AsJsonOption = False,
) -> None:
    """Measure a translator on held-out faces, beside the nearest neighbour and the mean face.

    Example: [bold]faceloom evaluate translator --task sketch --dataset faces --out evaluation[/bold]
    """
    from faceloom.training.features import LiteFeatures
    from faceloom.training.translator.evaluate import EvaluationSpec, evaluate
    from faceloom.training.translator.evaluation_report import to_json, to_markdown, write_report

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give a folder for the report")
    features = LiteFeatures()
    spec = EvaluationSpec(
        task=task,
        dataset=dataset,
        split=split,
        model=model or model_folder(profile, "translator"),
        baseline_model=baseline_model,
        profile=profile,
        variants=variants,
        limit=limit,
    )
    console = Console(stderr=True)
    with Progress(console=console, disable=as_json or not console.is_terminal) as bar:
        task_id = bar.add_task("measuring")

        def tell(row: str, done: int, total: int) -> None:
            bar.update(task_id, description=row, completed=done, total=total)

        evaluation = evaluate(spec, features, tell)
    # Printed first: it took long, and what was measured is not lost on a full disk.
    print_result(to_json(evaluation), as_json, to_markdown(evaluation))
    try:
        write_report(evaluation, out)
    except OSError as error:
        raise FaceloomError(f"cannot write to {out}: {error.strerror}") from None


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="evaluate")
