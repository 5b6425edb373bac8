"""Weights of sketchKeras: Keras' own file `mod.h5`, and what higumax/sketchKeras-pytorch converted it to."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from faceloom.checkpoints.hdf5 import Hdf5Object, read_hdf5
from faceloom.checkpoints.import_result import Answers, Imported, check_state
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import Refusal, read_checkpoint, refusing
from faceloom.core.errors import UsageError
from faceloom.sketch.extractors import SKETCH_KERAS
from faceloom.sketch.sketch_keras import CHANNELS, SketchKeras
from faceloom.store.model import FACELOOM

_LICENCE = "Apache-2.0"
# Of the three that upstream draws with (none, 0.1 and 0.18), the one that the port draws with.
_THRESHOLD = 0.1
_NOTES = (
    f"Lines fainter than {_THRESHOLD} are left out, as in upstream's `sketchKeras_enhanced`.",
    "It was trained on drawings and paintings of the anime kind, not on photographs.",
)
# Keras' names for the parts of a layer, and PyTorch's.
_CONV = {"kernel": "weight", "bias": "bias"}
_NORM = {
    "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
# The first convolutions of the five resolutions.
_WIDENING = ("downblock_1.1", "downblock_2.1", "downblock_3.1", "downblock_4.1", "downblock_5.1")


def read_keras(path: Path, answers: Answers) -> Imported:
    """`mod.h5`, or any file with its weights that Keras saved; of its configuration nothing is read.

    Raises:
        RefusedFile: The file is not one of Keras, or not of sketchKeras' layers.
        UsageError: It should see pictures in another way than upstream's.
    """
    _check_way(path, answers)
    root = read_hdf5(path)
    with refusing(path):
        layers = root["model_weights"] if "model_weights" in root.members else root
        found = [_parts(layers[name]) for name in layers.words("layer_names")]
        names: dict[str, str] = {}
        state: dict[str, Tensor] = {}
        for kinds, module in ((_CONV, nn.Conv2d), (_NORM, nn.BatchNorm2d)):
            ours = _modules(module)
            theirs = [parts for parts in found if parts.keys() & kinds.keys()]
            if len(theirs) != len(ours):
                raise Refusal(f"has {len(theirs)} {module.__name__}, sketchKeras has {len(ours)}")
            for name, parts in zip(ours, theirs, strict=True):
                for part, array in parts.items():
                    if part not in kinds:
                        raise Refusal(f"has {array.name}, which sketchKeras has not")
                    names[f"{name}.{kinds[part]}"] = array.name
                    state[f"{name}.{kinds[part]}"] = _with_our_axes(array.tensor())
        # Only PyTorch counts batches.
        state |= {
            f"{name}.num_batches_tracked": torch.tensor(0) for name in _modules(nn.BatchNorm2d)
        }
    return _imported(path, state, names)


def read_keras_port(path: Path, answers: Answers) -> Imported:
    """A state dict of higumax/sketchKeras-pytorch, whose names are ours.

    Raises:
        RefusedFile: The file is no such state dict.
        UsageError: It should see pictures in another way than upstream's.
    """
    _check_way(path, answers)
    saved = read_checkpoint(path)
    with refusing(path):
        state = state_dict(saved)
    return _imported(path, state, {})


def _imported(path: Path, state: Mapping[str, Tensor], names: Mapping[str, str]) -> Imported:
    with refusing(path):
        channels = []
        for layer in _WIDENING:
            weight = state.get(f"{layer}.weight")
            if weight is None or weight.dim() != 4:
                raise Refusal(f"has no {names.get(f'{layer}.weight', f'{layer}.weight')}")
            channels.append(len(weight))
        network = {"channels": channels}
        with torch.device("meta"):
            check_state(SketchKeras(**network), state, path, names)
    return Imported(
        network=network,
        options={"extractor": SKETCH_KERAS, "threshold": _THRESHOLD},
        weights=state,
        licence=_LICENCE,
        notes=_NOTES,
    )


def _check_way(path: Path, answers: Answers) -> None:
    if answers.preprocessing == FACELOOM:
        raise UsageError(
            f"{path}: sketchKeras sees pictures in upstream's way only; leave --preprocessing out"
        )


def _parts(layer: Hdf5Object) -> dict[str, Hdf5Object]:
    """The arrays of a layer by the part that each is; most layers have none."""
    names = layer.words("weight_names")
    return {name.rpartition("/")[2].partition(":")[0]: layer[name] for name in names}


def _modules(kind: type[nn.Module]) -> list[str]:
    """The names of our modules of a kind, in the order in which a picture goes through them."""
    with torch.device("meta"):
        network = SketchKeras(CHANNELS)
    return [name for name, module in network.named_modules() if isinstance(module, kind)]


def _with_our_axes(array: Tensor) -> Tensor:
    """Keras has the channels of kernels last."""
    return array.permute(3, 2, 0, 1) if array.dim() == 4 else array
