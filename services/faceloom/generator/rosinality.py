"""Checkpoints of rosinality/stylegan2-pytorch, whose names are ours."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.state_dict import part_of, state_dict
from faceloom.checkpoints.untrusted import Refusal, read_checkpoint, refusing
from faceloom.stylegan2.published import (
    LICENCE_NOTE,
    LR_MLP,
    MEAN_NOTE,
    generator_arguments,
    imported,
    mean_latent,
)

_NOTES = (
    LICENCE_NOTE,
    "The mapping's learning rate is not in the file; all published code has 0.01.",
)
_MEAN = "latent_avg"
_NOISE = "noises."
_NOISE_NOTE = (
    "The file holds no noise maps, as files from before upstream kept them; upstream draws new ones whenever"
    " it loads such a file. These were drawn from a fixed seed: faces differ from upstream's in fine detail,"
    " unless both are made without noise."
)
# Where a checkpoint has its generator, and what is to be said of it.
_AVERAGED, _TRAINED, _BARE = "g_ema", "g", ""
_PLACE_NOTES = {
    _AVERAGED: (),
    _TRAINED: (
        "The file has no g_ema, the average over the training that upstream makes faces with: this is g, the"
        " network as training left it, whose faces are worse.",
    ),
    _BARE: (
        "The file is a state dict alone: whether it is g_ema, the average over the training that upstream"
        " makes faces with, or g, it does not say.",
    ),
}
# Tensors that only other files have, and what those are.
_OTHERS = {
    "synthesis.b4.const": "holds a generator by NVIDIA's names, without its options; import the .pkl that it"
    " is from with --format nvlabs",
    "decoder.input.input": "is a checkpoint of a translator; import it with --kind translator --format psp",
}


def read_rosinality(path: Path, answers: Answers) -> Imported:
    """A file of `convert_weight.py` or of `train.py`: the averaged generator `g_ema`, else `g`; or the state
    dict of either alone.

    Raises:
        RefusedFile: The file is no such checkpoint, or not of a StyleGAN2 that can be served.
    """
    saved = read_checkpoint(path)
    with refusing(path):
        place, state = _generator(saved)
        mean = _mean(state.pop(_MEAN, saved.get(_MEAN)))
        notes: tuple[str, ...] = (*_PLACE_NOTES[place], *_NOTES)
        if not any(name.startswith(_NOISE) for name in state):
            state |= _noise_maps(generator_arguments(state)["size"])
            notes = (*notes, _NOISE_NOTE)
    if mean is not None:
        return imported(path, state | {_MEAN: mean}, lr_mlp=LR_MLP, notes=notes)
    found = imported(path, state, lr_mlp=LR_MLP, notes=(*notes, MEAN_NOTE), with_mean=False)
    estimate = mean_latent(found.network, found.weights)
    return replace(found, weights={**found.weights, _MEAN: estimate})


def _generator(saved: Any) -> tuple[str, dict[str, Tensor]]:
    """Where the generator was found, and its state."""
    if not isinstance(saved, dict):
        raise Refusal("has no g_ema, which rosinality's checkpoints have")
    place = next(
        (place for place in (_AVERAGED, _TRAINED) if part_of(saved, place) is not None), _BARE
    )
    if place == _BARE:
        _check_bare(saved)
    state = state_dict(saved, [place] if place else [])
    if any(name.startswith("iwt.") for name in state):
        raise Refusal("is a SWAGAN; only the architecture stylegan2 can be served")
    return place, state


def _check_bare(saved: Mapping[Any, Any]) -> None:
    # A translator's trainer keeps its tensors one level below.
    deeper = saved.get("state_dict")
    names = [str(name) for each in (saved, deeper) if isinstance(each, dict) for name in each]
    for other, what in _OTHERS.items():
        if any(name.endswith(other) for name in names):
            raise Refusal(what)
    if not any(name.endswith("input.input") for name in names):
        raise Refusal("has no g_ema, no g and no input.input: it is no checkpoint of rosinality's")


def _mean(latent: Any) -> Tensor | None:
    """The mean latent [style_dim] from [style_dim], [1, style_dim] or a row for every layer, all the same."""
    if latent is None:
        return None
    if not isinstance(latent, Tensor) or not latent.is_floating_point() or not latent.numel():
        raise Refusal(f"has {_MEAN}, which is no tensor of floating-point numbers")
    rows = latent.reshape(-1, latent.shape[-1]) if latent.dim() else latent[None, None]
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        raise Refusal(
            f"has another {_MEAN} for every layer, and a generator is truncated towards one; save the file"
            " without it, and it is estimated"
        )
    return rows[0].clone()


def _noise_maps(size: int) -> dict[str, Tensor]:
    """One for 4x4 and two for every larger side, by our names."""
    random = torch.Generator().manual_seed(0)
    sides = [2 ** ((i + 5) // 2) for i in range(2 * size.bit_length() - 5)]
    return {
        f"{_NOISE}noise_{i}": torch.randn(1, 1, side, side, generator=random)
        for i, side in enumerate(sides)
    }
