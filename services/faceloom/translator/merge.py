"""Translators of different tasks that have one decoder become one model of the store."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from faceloom.core.errors import UsageError
from faceloom.store.model import PREPROCESSING, Model, open_model
from faceloom.store.registry import check_name, new_version, prove, put_in_place, write_model
from faceloom.translator.model import DECODER, shift_codes

_SERVICE = "translator"
_MEAN = f"{DECODER}latent_avg"


def join_models(name: str, folders: Sequence[Path]) -> Model:
    """Write one model with the encoders of several, and prove that it can be served.

    Args:
        name: Of the new model.
        folders: Of translators with one decoder and different tasks. The mean latent and the options of the
            new model are those of the first.

    Raises:
        UsageError: They do not belong together; the message names two that do not.
    """
    check_name(name)
    models = [open_model(folder) for folder in folders]
    _check(models)
    with new_version(_SERVICE, name) as folder:
        notes = _write(folder, models)
        prove(folder, _SERVICE)
        return put_in_place(folder, notes)


def _check(models: Sequence[Model]) -> None:
    if len(models) < 2:
        raise UsageError("one translator is joined already; give two or more")
    for model in models:
        if model.service != _SERVICE:
            raise UsageError(
                f"{_reference(model)} is a model of the {model.service} service, not a translator"
            )
    for one, other in combinations(models, 2):
        for task in one.network["encoders"]:
            if task in other.network["encoders"]:
                raise UsageError(
                    f"{_reference(one)} and {_reference(other)} both have a {task} encoder"
                )
    for other in models[1:]:
        difference = next(_differences(models[0], other), None)
        if difference:
            raise UsageError(
                f"the decoders of {_reference(models[0])} and {_reference(other)} differ: {difference}"
            )


def _differences(one: Model, other: Model) -> Iterator[str]:
    """What is not the same in two decoders, apart from the estimate of their mean latent."""
    ours, theirs = one.network["decoder"], other.network["decoder"]
    for argument in sorted(ours.keys() | theirs.keys()):
        if ours.get(argument) != theirs.get(argument):
            yield f"{argument} is {ours.get(argument)} and {theirs.get(argument)}"
    with (
        safe_open(one.weights_path, framework="pt") as mine,
        safe_open(other.weights_path, framework="pt") as yours,
    ):
        names = [name for name in mine.keys() if name.startswith(DECODER) and name != _MEAN]  # noqa: SIM118
        for name in names:
            if not torch.equal(mine.get_tensor(name).float(), yours.get_tensor(name).float()):
                yield name


def _write(folder: Path, models: Sequence[Model]) -> list[str]:
    """The joined model; gives what is to be said of it."""
    notes = [
        f"Its {_tasks(model)} encoder is that of {_reference(model)}: {model.license}."
        for model in models
    ]
    weights: dict[str, Tensor] = {}
    for model in models:
        part = load_file(model.weights_path)
        offset = part[_MEAN].float() - weights.get(_MEAN, part[_MEAN]).float()
        if offset.any():
            for task, encoder in model.network["encoders"].items():
                offsets = offset.expand(encoder["n_styles"], -1)
                shift_codes(part, f"{task}.", offsets, encoder.get("deltas", False))
            notes.append(
                f"The codes of {_reference(model)} are offsets from another mean latent; the difference was"
                " added to the biases of its style heads."
            )
        if _mixing(model) != _mixing(models[0]):
            notes.append(
                f"{_reference(model)} has other options, {_mixing(model)}; those of"
                f" {_reference(models[0])} hold."
            )
        weights = part | weights
    encoders = {
        task: arguments for model in models for task, arguments in model.network["encoders"].items()
    }
    write_model(
        folder,
        kind=_SERVICE,
        network={"decoder": models[0].network["decoder"], "encoders": encoders},
        options=_mixing(models[0]) | _preprocessing(models),
        weights=weights,
        licence=" and ".join(dict.fromkeys(model.license for model in models)),
        sources=[source for model in models for source in _sources(model)],
        metrics={task: each for model in models for task, each in model.metrics.items()},
    )
    return notes


def _mixing(model: Model) -> dict[str, Any]:
    """The options that are of a whole translator."""
    return {name: value for name, value in model.options.items() if name != PREPROCESSING}


def _preprocessing(models: Sequence[Model]) -> dict[str, Any]:
    """The option that says how pictures come to each encoder, if any says it."""
    said = {
        task: how for model in models for task, how in model.options.get(PREPROCESSING, {}).items()
    }
    return {PREPROCESSING: said} if said else {}


def _sources(model: Model) -> list[Mapping[str, object]]:
    own = {
        "model": _reference(model),
        "use": f"its {_tasks(model)} encoder",
        "license": model.license,
        "sha256": model.weights.sha256,
    }
    return [own, *(source | {"model": _reference(model)} for source in model.sources)]


def _tasks(model: Model) -> str:
    return " and ".join(model.network["encoders"])


def _reference(model: Model) -> str:
    return f"{model.name}/{model.version}"
