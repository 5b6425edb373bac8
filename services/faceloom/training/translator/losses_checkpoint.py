"""The published weights that pixel2style2pixel's losses compare pictures with. They are imported for
training, and nothing serves them."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from faceloom.checkpoints.import_result import Answers, Imported, check_state
from faceloom.training.translator.identity import IRSE50
from faceloom.training.translator.lpips import UNUSED, Lpips
from faceloom.training.translator.weight_files import read_weights


def _read(
    network: Callable[[], nn.Module],
    unused: str,
    licence: str,
    note: str,
    path: Path,
    answers: Answers,
) -> Imported:
    state = read_weights(path, unused)
    with torch.device("meta"):
        check_state(network(), state, path)
    return Imported({}, {}, state, licence, (note,))


def _alexnet() -> nn.Module:
    return nn.ModuleDict({"features": Lpips().features})


def _heads() -> nn.Module:
    return nn.ModuleDict({name: part for name, part in Lpips().named_children() if "lin" in name})


# Each raises RefusedFile when the file is no state dict of exactly its network's tensors.
FORMATS: Mapping[str, Callable[[Path, Answers], Imported]] = {
    "alexnet": partial(
        _read,
        _alexnet,
        UNUSED,
        "BSD-3-Clause (code); ImageNet, which it was trained on, is for non-commercial research",
        "The convolutions of torchvision's AlexNet, for LPIPS with its heads. The classifier was left out.",
    ),
    "lpips": partial(
        _read,
        _heads,
        "",
        "BSD-2-Clause",
        "The linear heads of LPIPS v0.1 on AlexNet, whose convolutions are in another file.",
    ),
    "ir_se50": partial(
        _read,
        IRSE50,
        "",
        "MIT (code); the photographs that it was trained on are for non-commercial research",
        "ArcFace's IR-SE50, for the identity loss.",
    ),
}
