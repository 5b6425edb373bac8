"""Checkpoints of rosinality/stylegan2-pytorch, whose names are ours."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from faceloom.generator.published import (
    LICENCE_NOTE,
    LR_MLP,
    MEAN_NOTE,
    generator_arguments,
    imported,
    mean_latent,
)
from faceloom.store.imported import Answers, Imported
from faceloom.store.state_dict import state_dict
from faceloom.store.untrusted import Refusal, read_torch, refusing

_NOTES = (
    LICENCE_NOTE,
    "The mapping's learning rate is not in the file; all published code has 0.01.",
)
_NOISE = "noises."
_NOISE_NOTE = (
    "The file holds no noise maps, as files from before upstream kept them; upstream draws new ones whenever"
    " it loads such a file. These were drawn from a fixed seed: faces differ from upstream's in fine detail,"
    " unless both are made without noise."
)


def read_rosinality(path: Path, answers: Answers) -> Imported:
    """A `.pt` of `convert_weight.py` or of `train.py`: the averaged generator `g_ema`.

    Raises:
        RefusedFile: The file is no such checkpoint, or not of a StyleGAN2 that can be served.
    """
    saved = read_torch(path)
    with refusing(path):
        if not isinstance(saved, dict) or not isinstance(saved.get("g_ema"), dict):
            raise Refusal("has no g_ema, which rosinality's checkpoints have")
        mean = {"latent_avg": saved["latent_avg"]} if "latent_avg" in saved else {}
        state = state_dict(saved["g_ema"] | mean)
        if any(name.startswith("iwt.") for name in state):
            raise Refusal("is a SWAGAN; only the architecture stylegan2 can be served")
        notes: tuple[str, ...] = _NOTES
        if not any(name.startswith(_NOISE) for name in state):
            state |= _noise_maps(generator_arguments(state)["size"])
            notes = (*notes, _NOISE_NOTE)
    if mean:
        return imported(path, state, lr_mlp=LR_MLP, notes=notes)
    found = imported(path, state, lr_mlp=LR_MLP, notes=(*notes, MEAN_NOTE), with_mean=False)
    mean["latent_avg"] = mean_latent(found.network, found.weights)
    return replace(found, weights={**found.weights, **mean})


def _noise_maps(size: int) -> dict[str, Tensor]:
    """One for 4x4 and two for every larger side, by our names."""
    random = torch.Generator().manual_seed(0)
    sides = [2 ** ((i + 5) // 2) for i in range(2 * size.bit_length() - 5)]
    return {
        f"{_NOISE}noise_{i}": torch.randn(1, 1, side, side, generator=random)
        for i, side in enumerate(sides)
    }
