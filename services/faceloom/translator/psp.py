"""Checkpoints of eladrich/pixel2style2pixel and omertov/encoder4editing: one encoder, its decoder by
rosinality's names, and how it was trained. Tasks, sizes, depths and widths are read from the tensors; what
the file says of them must agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from faceloom.checkpoints.import_result import (
    BISENET,
    E4E,
    PSP,
    Answers,
    Imported,
    check_finite,
    check_state,
)
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import Refusal, read_checkpoint, refusing
from faceloom.core.errors import UsageError
from faceloom.layouts.labels import CELEBA_TO_BISENET
from faceloom.store.model import PREPROCESSING, open_model
from faceloom.store.torch_model import load_weights
from faceloom.stylegan2.network import Generator
from faceloom.stylegan2.published import (
    LR_MLP,
    MEAN_NOTE,
    check_filter,
    generator_arguments,
    mean_latent,
    plain,
)
from faceloom.translator.encoder_shape import encoder_arguments
from faceloom.translator.model import (
    CHANNELS,
    DECODER,
    FACE,
    SEGMENTATION,
    SKETCH,
    fine_layers,
    shift_codes,
)
from faceloom.translator.network import GradualStyleEncoder
from faceloom.translator.psp_options import (
    check_options,
    dataset_notes,
    encoder_kind,
    label_order,
    preprocessing,
    read_options,
    resize_factors,
)

# Style mixing does not truncate there.
_PSI = 1.0
# What the names of the encoder's tensors begin with; those of the decoder do as in the store.
_ENCODER = "encoder."
_MEAN = "latent_avg"

_LICENCE_NOTE = (
    "The file does not say under which licence it is. pixel2style2pixel's own weights come from NVIDIA's"
    " StyleGAN2, FFHQ and CelebAMask-HQ, which are all for non-commercial use."
)
_KIND_NOTES = {
    PSP: "Its encoder is of pixel2style2pixel: every style is read on its own.",
    E4E: "Its encoder is of encoder4editing: styles are read as differences from the first one.",
}
_TASK_NOTES = {
    SKETCH: "It translates drawings: one channel, white paper is 1.",
    SEGMENTATION: (
        "It translates layouts of 19 classes, in CelebAMask-HQ's order. The published weights were trained"
        " with label maps that were resized bilinearly before they were told apart, so that up to a few"
        " percent of the pixels, at the borders, were of classes in between; its option `preprocessing` says"
        " whether they are here."
    ),
    FACE: "It takes faces: RGB, -1 to 1, cut out as FFHQ's are.",
}
_BISENET_NOTE = (
    "It was trained with layouts in BiSeNet's order, as was said on import; the input channels of its first"
    " convolution were brought into CelebAMask-HQ's order, which requests are in."
)
_SHIFT_NOTE = (
    "Its codes are not offsets from the decoder's mean latent; what they lack was added to the biases of its"
    " style heads."
)


def read_psp(path: Path, answers: Answers) -> Imported:
    """A checkpoint of pixel2style2pixel's trainer, for drawings, layouts or faces, or of encoder4editing's,
    for faces; or all its tensors in one flat file.

    Raises:
        RefusedFile: The file is no such checkpoint, or its parts do not fit each other.
        UsageError: It has no decoder and `answers` name none, or both have; or it is not known whose encoder
            it is, or the order of its classes.
    """
    saved = read_checkpoint(path)
    with refusing(path):
        state = state_dict(saved)
        average = state.pop(_MEAN, saved.get(_MEAN))
        said = read_options(saved)
        encoder = _part(state, _ENCODER)
        arguments = encoder_arguments(encoder)
        task = _task(arguments["input_nc"])
    kind = encoder_kind(path, task, saved, said, answers)
    if kind == E4E:
        arguments["deltas"] = True
    order = label_order(path, task, said, answers)
    decoder = _decoder(path, state, answers)
    with refusing(path):
        factors = resize_factors(said, arguments["side"])
        check_options(arguments, decoder.network, said)
        average, added = _latents(path, average, said, arguments)
        _check_tensors(path, state, arguments, decoder)
    shown = preprocessing(path, task, factors, order, answers)
    found, generator = dict(encoder), decoder.weights
    notes = [_LICENCE_NOTE, _KIND_NOTES[kind], _TASK_NOTES[task], *decoder.notes]
    notes += dataset_notes(said)
    if order == BISENET:
        _renumber(found)
        notes.append(_BISENET_NOTE)
    mean = average if decoder.mean is None else decoder.mean
    if mean is None:
        mean = mean_latent(decoder.network, generator)
        notes.append(MEAN_NOTE)
    if not torch.equal(added, mean.expand_as(added)):
        # A translator adds the mean to all codes.
        shift_codes(found, "", added - mean, kind == E4E)
        notes.append(_SHIFT_NOTE)
    return Imported(
        network={"decoder": decoder.network, "encoders": {task: arguments}},
        options={
            "mixed_layers": fine_layers(arguments["n_styles"]),
            "psi": _PSI,
            PREPROCESSING: {task: shown},
        },
        weights={f"{task}.{name}": tensor for name, tensor in found.items()}
        | {f"{DECODER}{name}": tensor for name, tensor in generator.items()}
        | {f"{DECODER}{_MEAN}": mean.clone()},
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Decoder:
    """Arguments, state and mean latent of a generator; the mean is not in a checkpoint's own decoder."""

    network: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    mean: Tensor | None = None
    notes: tuple[str, ...] = ()


def _decoder(path: Path, state: Mapping[str, Tensor], answers: Answers) -> _Decoder:
    own = _part(state, DECODER)
    if bool(own) == (answers.decoder is not None):
        raise UsageError(
            f"{path} has a decoder of its own; leave --decoder out"
            if own
            else f"{path} has no decoder; name the imported generator that it was trained with: --decoder"
        )
    if answers.decoder is None:
        with refusing(path):
            for name, kernel in own.items():
                if name.endswith(".kernel"):
                    check_filter(DECODER + name, kernel)
            return _Decoder(generator_arguments(own) | {"lr_mlp": LR_MLP}, own)
    model = open_model(answers.decoder)
    if model.service != "generator":
        raise UsageError(f"--decoder: {answers.decoder} is a model of the {model.service} service")
    given = load_weights(model)
    note = f"Its decoder is the generator {model.name}, version {model.version}: {model.license}."
    return _Decoder(model.network, given, given.pop(_MEAN), (note,))


def _task(channels: int) -> str:
    for task, wanted in CHANNELS.items():
        if channels == wanted:
            return task
    known = ", ".join(f"{wanted} ({task})" for task, wanted in CHANNELS.items())
    raise Refusal(f"takes pictures of {channels} channels; there are {known}")


def _check_tensors(
    path: Path, state: Mapping[str, Tensor], arguments: Mapping[str, Any], decoder: _Decoder
) -> None:
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {
            _ENCODER: GradualStyleEncoder(**arguments),
            DECODER: Generator(**decoder.network),
        }
    tensors = {_ENCODER: _part(state, _ENCODER), DECODER: decoder.weights}
    for prefix, network in parts.items():
        names = tensors[prefix].keys() | network.state_dict().keys()
        check_state(network, tensors[prefix], path, {name: prefix + name for name in names})
    extra = [name for name in state if not name.startswith((_ENCODER, DECODER))]
    if extra:
        raise Refusal(f"has {min(extra)}, which is of no encoder and no decoder")


def _latents(
    path: Path, average: Any, said: Mapping[Any, Any], encoder: Mapping[str, Any]
) -> tuple[Tensor | None, Tensor]:
    """The mean latent [style_dim], if the file has one, and what is added to codes [n_styles, style_dim]."""
    styles, dim = encoder["n_styles"], encoder["style_dim"]
    added = plain(said.get("start_from_latent_avg", average is not None))
    if average is None:
        if "start_from_latent_avg" not in said:
            raise Refusal(
                "has no latent_avg, which codes are counted from, and no opts that say they are not; save its"
                " tensors together with latent_avg"
            )
        if added:
            raise Refusal("adds latent_avg to its codes, but has none")
        return None, torch.zeros(styles, dim)
    if not isinstance(average, Tensor) or not average.is_floating_point():
        raise Refusal("has latent_avg, which is no floating-point tensor")
    if list(average.shape) not in ([dim], [1, dim], [styles, dim]):
        raise Refusal(f"latent_avg is {list(average.shape)}, not [{styles}, {dim}] or [{dim}]")
    check_finite(path, "latent_avg", average)
    rows = average.float().expand(styles, dim)
    # Latents that differ by layer are no mean of the decoder's.
    mean = rows[0] if torch.equal(rows, rows[:1].expand_as(rows)) else None
    return mean, rows if added else torch.zeros(styles, dim)


def _renumber(encoder: dict[str, Tensor]) -> None:
    """Lets an encoder of layouts in BiSeNet's order take them in CelebAMask-HQ's."""
    name = "input_layer.0.weight"
    encoder[name] = encoder[name][:, CELEBA_TO_BISENET.tolist()]


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
