"""`faceloom label`: what people said of faces in the studio."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceloom import datasets
from faceloom.cli.files import protect_dataset, refuse_overwriting, write_file
from faceloom.cli.options import AsJsonOption, print_result
from faceloom.cli.studio import DEFAULT_LABELS, LabelsUrlOption, label_store
from faceloom.core.errors import FaceloomError
from faceloom.datasets.place import local_dataset

# Elsewhere only where they are needed: help is printed without aiohttp and sqlalchemy.
if TYPE_CHECKING:
    from faceloom.studio.labels import Verdicts

app = typer.Typer(no_args_is_help=True, help="Read the labels that people gave in the studio.")

_SQLITE = "sqlite:///"

DatasetOption = Annotated[
    Path, typer.Option(parser=local_dataset, help="The dataset whose faces were labelled.")
]


@app.command()
def status(
    dataset: DatasetOption, labels: LabelsUrlOption = DEFAULT_LABELS, as_json: AsJsonOption = False
) -> None:
    """Show who labelled how many faces of a dataset, and how far people agree.

    Example: [bold]faceloom label status --dataset out/faces[/bold]
    """
    from faceloom.studio.labels import Label

    found = _verdicts(dataset, labels)
    result = {
        "keep": found.count(Label.KEEP),
        "reject": found.count(Label.REJECT),
        "tied": len(found.tied),
        "people": {
            person: {label.value: said[label] for label in Label}
            for person, said in found.by_person.items()
        },
        "agreement": found.agreement,
    }
    lines = [
        f"{person}: {said[Label.KEEP]} keep, {said[Label.REJECT]} reject"
        for person, said in found.by_person.items()
    ]
    lines.append(
        f"together: {result['keep']} keep, {result['reject']} reject, {result['tied']} tied"
    )
    if found.agreement is not None:
        lines.append(f"two people agree on a face they both saw: {found.agreement:.1%}")
    print_result(result, as_json, "\n".join(lines))


@app.command()
def export(
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="The label file.")] = Path("labels.jsonl"),
    labels: LabelsUrlOption = DEFAULT_LABELS,
    as_json: AsJsonOption = False,
) -> None:
    """Write the label file that `faceloom train quality` reads: what most people said of each face.

    Example: [bold]faceloom label export --dataset out/faces --out labels.jsonl[/bold]
    """
    from faceloom.studio.labelling import label_file
    from faceloom.studio.labels import Label

    protect_dataset(dataset, out)
    if labels.startswith(_SQLITE):
        refuse_overwriting([Path(labels.removeprefix(_SQLITE))], [out])
    found = _verdicts(dataset, labels)
    if not found.decided:
        raise FaceloomError(
            f"nobody has labelled faces of {dataset}; `faceloom studio` is the place, or --labels is another"
        )
    write_file(out, label_file(found).encode())
    result = {
        "labels": len(found.decided),
        "keep": found.count(Label.KEEP),
        "reject": found.count(Label.REJECT),
        "left_out": len(found.tied),
        "output": str(out),
    }
    text = (
        f"{result['keep']} keep, {result['reject']} reject; {result['left_out']} on which people are"
        f" divided are left out\n{out}"
    )
    print_result(result, as_json, text)


def _verdicts(dataset: Path, labels: str) -> "Verdicts":
    opened = datasets.open(dataset)
    faces = {one.id for records in (opened.faces(), opened.rejected()) for one in records}
    with label_store(labels, new=False) as store:
        return store.verdicts(opened.recipe.source.digest, faces)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="label")
