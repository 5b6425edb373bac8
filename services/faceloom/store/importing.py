"""A published checkpoint becomes a model of the store: `<store>/models/<service>/<name>/<version>`."""

import importlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.errors import FaceloomError, UsageError
from faceloom.runtime.handler import WARM_UP, AnyHandler, run_batch
from faceloom.runtime.service import service
from faceloom.store.card import write_card
from faceloom.store.imported import Answers, Imported
from faceloom.store.model import Limits, Model, file_sha256, open_model
from faceloom.store.profile import model_store

Importer = Callable[[Path, Answers], Imported]

# Networks that trainings compare pictures with; nothing serves them.
LOSSES: Final = "losses"
_LOSSES_MODULE: Final = "faceloom.translator.losses_checkpoint"
_WEIGHTS: Final = "weights.safetensors"
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
# A call may take this share of the longest time a call may take: others wait for it.
_SHARE = 0.25
_RUNS = 3


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
        UsageError: Something has to be said that was not.
        RefusedFile: The file is not a whole checkpoint of that format.
    """
    importer = formats(kind).get(form)
    if importer is None:
        raise UsageError(f"{kind} has no format {form!r}; there are {', '.join(formats(kind))}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, dashes and underscores")
    imported = importer(file, answers)
    licence = licence or imported.licence
    if licence is None:
        raise UsageError(
            f"{file} does not say under which licence it is: give --license, as its owner calls it"
        )
    versions = model_store() / "models" / kind / name
    partial = versions / f".{uuid.uuid4().hex}.partial"
    partial.mkdir(parents=True)
    try:
        _write(partial, kind, form, file, name, licence, imported)
        notes = imported.notes
        # Its tensors would take memory beside those that are served.
        del imported
        if kind != LOSSES:
            _prove(partial, kind)
        return _put_in_place(partial, versions, notes)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            versions.rmdir()  # only if nothing is in it


def _put_in_place(partial: Path, versions: Path, notes: Sequence[str]) -> Model:
    """The model under the next free version number."""
    taken = [int(path.name) for path in versions.iterdir() if path.name.isdecimal()]
    folder = versions / str(max(taken, default=0) + 1)
    described = json.loads((partial / "model.json").read_text())
    _describe(partial, described | {"version": folder.name})
    write_card(open_model(partial), notes)
    try:
        partial.rename(folder)
    except OSError:
        raise FaceloomError(f"{folder} has just been made by another import; try again") from None
    return open_model(folder)


def _write(
    folder: Path, kind: str, form: str, file: Path, name: str, licence: str, imported: Imported
) -> None:
    weights = {key: tensor.contiguous() for key, tensor in imported.weights.items()}
    save_file(weights, folder / _WEIGHTS)
    source = {"file": file.name, "format": form, "sha256": file_sha256(file)}
    _describe(folder, {
        "service": kind,
        "name": name,
        "version": "0",
        "network": dict(imported.network),
        "options": dict(imported.options),
        "weights": {"file": _WEIGHTS, "sha256": file_sha256(folder / _WEIGHTS)},
        "license": licence,
        "sources": [source],
        "metrics": {},
    })  # fmt: skip


def _prove(folder: Path, kind: str) -> None:
    """Load the model as a worker would, and write down how much may be asked of it at a time."""
    handler = service(kind).new_handler()
    handler.load(folder, "cpu")
    seconds = min(_warm_up(handler) for _ in range(_RUNS))
    facts = service(kind)
    fitting = int(facts.max_seconds * _SHARE / max(seconds, 1e-6))
    limits = Limits(
        seconds_per_item=round(seconds, 4), max_items=max(1, min(facts.max_items, fitting))
    )
    described = json.loads((folder / "model.json").read_text())
    _describe(folder, described | {"limits": limits.model_dump()})


def _warm_up(handler: AnyHandler) -> float:
    """Seconds that the smallest request takes.

    Raises:
        FaceloomError: It fails.
    """
    call = engine_pb2.EngineCall(method=WARM_UP)
    answer = run_batch(handler, engine_pb2.EngineBatch(calls=[call]))
    if answer.results[0].WhichOneof("outcome") != "response":
        raise FaceloomError(f"the imported {handler.service.name} model fails to compute")
    return float(answer.seconds)


def _describe(folder: Path, description: Mapping[str, Any]) -> None:
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text)
