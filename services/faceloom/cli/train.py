"""`faceloom train`: every step of the recipes that made the `tiny` models, in the order of
model_store/tiny/recipe.mk. The steps that look at faces with MediaPipe are scripts of their own, because it
does not live in one environment with the rest."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from faceloom.cli.files import refuse_overwriting
from faceloom.cli.options import AsJsonOption, print_result
from faceloom.cli.train_translator import join_translators, translator
from faceloom.core.errors import UsageError
from faceloom.datasets.place import local_dataset
from faceloom.store.model import open_model, replace_model
from faceloom.store.profile import model_folder, model_store, path_in_store

if TYPE_CHECKING:
    from faceloom.training.quality.finetune import FilterComparison

app = typer.Typer(help="Train the models.", no_args_is_help=True)
app.command()(translator)
app.command()(join_translators)

TeacherOption = Annotated[Path, typer.Option(help="weights.tar of the package gan-face-generate.")]
FacesOption = Annotated[Path, typer.Option(help="Faces, uint8 RGB [N, 64, 64, 3] in a .npy file.")]
OutFileOption = Annotated[Path, typer.Option(help="What to write.")]
ModelFolderOption = Annotated[Path, typer.Option("--out", help="The model's folder in the store.")]
CheckpointOption = Annotated[
    Path, typer.Option(help="Kept up to date; the same command goes on from it.")
]


@app.command()
def screening_faces(teacher: TeacherOption, out: OutFileOption) -> None:
    """Teacher faces for a detector to judge, so that the generator learns from good ones.

    Example: [bold]faceloom train screening-faces --teacher weights.tar --out screening.npy[/bold]
    """
    from faceloom.training.generator.latent_screening import screening_faces as write

    refuse_overwriting([teacher], [out])
    write(teacher, out)


@app.command()
def generator(
    teacher: TeacherOption,
    scores: Annotated[Path, typer.Option(help="What screen_teacher.py wrote.")],
    run: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on from it.")],
    out: ModelFolderOption,
) -> None:
    """Train the generator on its teacher, and write the model.

    Example: [bold]faceloom train generator --teacher weights.tar --scores scores.npy --run run --out g[/bold]
    """
    from faceloom.training.generator.export import export
    from faceloom.training.generator.train import train

    train(teacher, scores, run)
    export(run / "best.pt", out)


@app.command()
def teacher_faces(
    teacher: TeacherOption,
    out: OutFileOption,
    count: Annotated[int, typer.Option(help="How many.")] = 8000,
) -> None:
    """Teacher faces to train the other models on.

    Example: [bold]faceloom train teacher-faces --teacher weights.tar --out faces.npy[/bold]
    """
    from faceloom.training.segmentation.prepare import sample_faces

    refuse_overwriting([teacher], [out])
    sample_faces(teacher, out, count)


@app.command()
def layouts(
    faces: FacesOption,
    mesh: Annotated[Path, typer.Option(help="What face_mesh.py wrote.")],
    out: OutFileOption,
) -> None:
    """Paint pseudo-labels over faces, from their meshes.

    Example: [bold]faceloom train layouts --faces faces.npy --mesh mesh.npz --out layouts.npz[/bold]
    """
    from faceloom.training.segmentation.prepare import paint_labels

    refuse_overwriting([faces, mesh], [out])
    paint_labels(faces, mesh, out)


@app.command()
def segmentation(
    faces: FacesOption,
    labels: Annotated[Path, typer.Option(help="What `train layouts` wrote.")],
    checkpoint: CheckpointOption,
    out: ModelFolderOption,
) -> None:
    """Train the segmentation network.

    Example: [bold]faceloom train segmentation --faces f.npy --labels l.npz --checkpoint s.pt --out s[/bold]
    """
    from faceloom.training.segmentation.train import train

    refuse_overwriting([faces, labels], [checkpoint], "--checkpoint")
    with _progress("segmentation") as tell:
        train(faces, labels, out, checkpoint, progress=tell)


@app.command()
def drawings(
    faces: FacesOption,
    mesh: Annotated[Path, typer.Option(help="What face_mesh.py wrote.")],
    labels: Annotated[Path, typer.Option(help="What `train layouts` wrote.")],
    out: OutFileOption,
) -> None:
    """Draw faces, from their meshes and layouts.

    Example: [bold]faceloom train drawings --faces f.npy --mesh m.npz --labels l.npz --out d.npz[/bold]
    """
    from faceloom.training.sketch.prepare import draw_targets

    refuse_overwriting([faces, mesh, labels], [out])
    draw_targets(faces, mesh, labels, out)


@app.command()
def sketch(
    faces: FacesOption,
    labels: Annotated[Path, typer.Option(help="What `train layouts` wrote.")],
    targets: Annotated[Path, typer.Option(help="What `train drawings` wrote.")],
    checkpoint: CheckpointOption,
    out: ModelFolderOption,
) -> None:
    """Train the sketch network.

    Example: [bold]faceloom train sketch --faces f.npy --labels l.npz --targets d.npz --checkpoint k.pt
    --out s[/bold]
    """
    from faceloom.training.sketch.train import train

    refuse_overwriting([faces, labels, targets], [checkpoint], "--checkpoint")
    with _progress("sketch") as tell:
        train(faces, labels, targets, out, checkpoint, progress=tell)


@app.command()
def quality_features(faces: FacesOption, checkpoint: CheckpointOption) -> None:
    """Teach the quality network what faces look like, without labels.

    Example: [bold]faceloom train quality-features --faces faces.npy --checkpoint features.pt[/bold]
    """
    from faceloom.training.quality.pretrain import pretrain

    refuse_overwriting([faces], [checkpoint], "--checkpoint")
    with _progress("quality features") as tell:
        pretrain(faces, checkpoint, progress=tell)


@app.command()
def quality_from_scratch(
    labels: Annotated[
        Path, typer.Option(help="JSON lines: generator, then seed, psi, label, split.")
    ],
    features: Annotated[Path, typer.Option(help="What `train quality-features` wrote.")],
    generator: Annotated[
        Path, typer.Option(help="Model folder of the generator that was labelled.")
    ],
    run: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on from it.")],
    out: ModelFolderOption,
) -> None:
    """Train the quality network on people's choices among the generator's faces.

    Example: [bold]faceloom train quality-from-scratch --labels labels.jsonl --features features.pt
    --generator g --run q --out quality[/bold]
    """
    from faceloom.training.quality.render import render_labelled, render_unlabelled
    from faceloom.training.quality.train import train

    run.mkdir(parents=True, exist_ok=True)
    labelled, unlabelled = run / "labelled.npy", run / "unlabelled.npy"
    try:
        if not labelled.exists():
            render_labelled(labels, generator, labelled)
        if not unlabelled.exists():
            render_unlabelled(generator, unlabelled)
        with _progress("quality") as tell:
            train(labels, labelled, unlabelled, out, run / "checkpoint.pt", features, progress=tell)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from None


@app.command()
def quality(
    labels: Annotated[
        Path, typer.Option(help="JSON lines: id of a face, and label keep or reject.")
    ],
    dataset: Annotated[
        Path, typer.Option(parser=local_dataset, help="The dataset the ids are of.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; OUT/model is the new model.")],
    precision: Annotated[
        float, typer.Option(help="Wanted share of keeps among the accepted.")
    ] = 0.9,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of 32 views.")] = 400,
    store: Annotated[
        bool, typer.Option("--store", help="Put it in the model store if it beats the one there.")
    ] = False,
    profile: Annotated[str, typer.Option(help="Whose quality model to start from.")] = "tiny",
    as_json: AsJsonOption = False,
) -> None:
    """Teach the quality network your taste: fine-tune it on labelled faces of a dataset, and compare it with
    the one in the store on faces that neither has seen.

    Example: [bold]faceloom train quality --labels labels.jsonl --dataset out/faces --out out/taste[/bold]
    """
    from faceloom.training.quality.choices import read_choices
    from faceloom.training.quality.finetune import fine_tune

    if not 0 < precision < 1:
        raise UsageError(f"--precision is {precision}; give a share between 0 and 1")
    there = model_folder(profile, "quality")
    if store and path_in_store(there) != f"{profile}/quality":
        raise UsageError(f"profile {profile} shares {there} with others; leave --store out")
    choices = read_choices(labels, dataset, model_folder(profile, "generator"))
    out.mkdir(parents=True, exist_ok=True)
    with _progress("quality") as tell:
        comparison = fine_tune(
            choices, open_model(there), out / "model", out / "checkpoint.pt",
            steps=steps, precision=precision, progress=tell,
        )  # fmt: skip
    stored = store and comparison.better
    if stored:
        replace_model(out / "model", model_store() / profile / "quality")
    report = asdict(comparison) | {"better": comparison.better, "stored": stored}
    print_result(report, as_json, _comparison_table(comparison, out / "model", stored))


def _comparison_table(comparison: "FilterComparison", model: Path, stored: bool) -> str:
    rows = [("on held-out faces", "old", "new")]
    old, new = asdict(comparison.old), asdict(comparison.new)
    rows += [(name.replace("_", " "), f"{old[name]:.3f}", f"{new[name]:.3f}") for name in old]
    lines = [f"{name:<28}{before:>8}{after:>8}" for name, before, after in rows]
    verdict = "better than" if comparison.better else "not better than"
    place = "and in the store now" if stored else f"in {model}"
    return "\n".join([*lines, f"{verdict} the old one by AUC; {place}"])


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar that a training tells (images done, images in all, loss)."""
    with Progress() as bar:
        task = bar.add_task(what)
        yield lambda done, total, loss: bar.update(task, completed=done, total=total)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="train")
