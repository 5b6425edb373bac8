"""A published checkpoint becomes a model of the store: `<store>/models/<service>/<name>/<version>`."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.state_dict import precisions, weights
from faceloom.core.errors import UsageError
from faceloom.runtime.service import service
from faceloom.store.model import Model, file_sha256
from faceloom.store.registry import check_name, new_version, prove, put_in_place, write_model

Importer = Callable[[Path, Answers], Imported]

# Networks that trainings compare pictures with; nothing serves them.
LOSSES: Final = "losses"
_LOSSES_MODULE: Final = "faceloom.training.translator.losses_checkpoint"
# What the files of a kind may leave open.
_ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "quality": ("classes", "keep", "threshold", "bn_eps"),
    "sketch": ("preprocessing",),
    "segmentation": ("label_order", "preprocessing"),
    "translator": ("decoder", "label_order", "encoder", "preprocessing", "resize_factor"),
}


def formats(kind: str) -> Mapping[str, Importer]:
    """The importers of a service, or of `losses`, by format.

    Raises:
        UsageError: There is no such service.
    """
    module = _LOSSES_MODULE if kind == LOSSES else f"faceloom.{service(kind).name}.checkpoint"
    found: Mapping[str, Importer] = importlib.import_module(module).FORMATS
    return found


def import_model(
    kind: str, form: str, file: Path, name: str, licence: str | None, answers: Answers
) -> Model:
    """Write a checkpoint as a model, and prove that it can be served.

    Args:
        kind: Short name of the service, or `losses`.
        form: One of `formats(kind)`.
        file: The published file.
        name: Of the model in the store. If it is there already, this becomes its next version.
        licence: What its owner calls it; needed where the format does not imply it.
        answers: What else the file does not say.

    Raises:
        UsageError: Something has to be said that was not, or was said that is of no use.
        RefusedFile: The file is not a whole checkpoint of that format.
    """
    importer = formats(kind).get(form)
    if importer is None:
        raise UsageError(f"{kind} has no format {form!r}; there are {', '.join(formats(kind))}")
    check_name(name)
    _check_answers(kind, answers)
    imported = importer(file, answers)
    licence = licence or imported.licence
    if licence is None:
        raise UsageError(
            f"{file} does not say under which licence it is: give --license, as its owner calls it"
        )
    with new_version(kind, name) as folder:
        write_model(
            folder,
            kind=kind,
            network=imported.network,
            options=imported.options,
            weights=weights(imported.weights),
            licence=licence,
            sources=[{"file": file.name, "format": form, "sha256": file_sha256(file)}],
        )
        notes = (*imported.notes, *_precision_notes(imported.weights))
        # Its tensors would take memory beside those that are served.
        del imported
        if kind != LOSSES:
            prove(folder, kind)
        return put_in_place(folder, notes)


def _precision_notes(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    others = precisions(tensors)
    if not others:
        return ()
    return (f"The file's numbers are {' and '.join(others)}; here they are stored as float32.",)


def _check_answers(kind: str, answers: Answers) -> None:
    for name, value in asdict(answers).items():
        if value is not None and name not in _ANSWERS.get(kind, ()):
            option = name.replace("_", "-")
            raise UsageError(f"--{option} says nothing about {kind} checkpoints; leave it out")
