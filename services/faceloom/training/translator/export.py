"""Trained encoders and their decoder as one model folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.core.errors import UsageError
from faceloom.store.model import file_sha256, open_model
from faceloom.store.torch_model import load_weights
from faceloom.training.runs import save_model
from faceloom.translator.model import Translator, fine_layers, stored_tensors

# Styles of seeds are pulled to the mean by this, as in builds.
_PSI = 0.7


def export(runs: Sequence[Path], generator: Path, out: Path) -> None:
    """Write model.json and weights.safetensors, each atomically.

    Args:
        runs: `best.pt` of runs of different tasks with the same generator.
        generator: Its model folder.
        out: The model's folder.

    Raises:
        UsageError: The runs do not belong together.
    """
    decoder = open_model(generator)
    best: dict[str, dict[str, Any]] = {}
    for run in runs:
        state = torch.load(run, map_location="cpu", weights_only=True)
        if state["task"] in best or state["run"]["generator"] != decoder.weights.sha256:
            raise UsageError(f"{run}: a second {state['task']} run, or one of another generator")
        best[state["task"]] = state
    network = {
        "decoder": decoder.network,
        "encoders": {task: state["network"] for task, state in best.items()},
    }
    translator = Translator(**network)
    translator.decoder.load_state_dict(load_weights(decoder))
    for task, state in best.items():
        translator.encoders[task].load_state_dict(state["encoder"])
    save_model(
        out,
        service="translator",
        name=decoder.name,
        network=network,
        options={"mixed_layers": fine_layers(translator.decoder.n_latent), "psi": _PSI},
        weights=halved(stored_tensors(translator)),
        licence=decoder.license,
        sources=[
            _source(task, run, state) for run, (task, state) in zip(runs, best.items(), strict=True)
        ],
        metrics={task: _metrics(state) for task, state in best.items()},
    )


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels in float16. Vectors stay: they are small, and variances may be tiny."""
    return {
        name: tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
        for name, tensor in tensors.items()
    }


def _source(task: str, run: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "faceloom build",
        "use": f"pairs the {task} encoder was trained on",
        "dataset_digest": state["run"]["dataset"],
        "dataset_seed": state["run"]["dataset_seed"],
        "file": run.name,
        "sha256": file_sha256(run),
    }


def _metrics(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": state["step"], **state["scores"], "training": state["run"]["options"]}
