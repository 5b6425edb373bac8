"""The published formats of face-parsing networks that can be imported: BiSeNets of zllrunning's kind."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from faceloom.checkpoints.import_result import CELEBAMASK_HQ, Answers, Imported, check_state
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import Refusal, read_checkpoint, refusing
from faceloom.layouts.classes import BISENET_CLASS_NAMES
from faceloom.segmentation.network import BiSeNet
from faceloom.store.model import PREPROCESSING

Rename: TypeAlias = Callable[[str], str]

# All published weights are for pictures of this side.
_SIDE = 512
_STEM_CHANNELS = 64
_LICENCE = "MIT (code), CelebAMask-HQ's non-commercial terms (training data)"
_BISENET_NOTE = "Its classes are in BiSeNet's order; answers are in CelebAMask-HQ's."
_CELEBAMASK_HQ_NOTE = "Its classes are in CelebAMask-HQ's order, as was said on import."

# From our names to yakhyo's, one after the other.
_YAKHYO = (
    (r"^cp\.resnet\.", "fpn.backbone."),
    (r"^cp\.", "fpn."),
    (r"\.bn\.", ".norm."),
    (r"\.conv(blk)?\.(conv|norm)\.", r".conv_block.\2."),
    (r"\.conv_atten\.", ".attention.0."),
    (r"\.bn_atten\.", ".attention.1."),
    (r"\.conv_out\.", ".conv."),
)
_UNUSED = ("fpn.backbone.fc.weight", "fpn.backbone.fc.bias")
_UNUSED_NOTE = "The ImageNet classifier of its ResNet, which no picture goes through, was left out."


def read_zllrunning(path: Path, answers: Answers) -> Imported:
    """A state dict of zllrunning/face-parsing.PyTorch, such as `79999_iter.pth`.

    Raises:
        RefusedFile: The file is no such state dict, or not of the 19 classes.
    """
    saved = read_checkpoint(path)
    with refusing(path):
        state = state_dict(saved)
    return _imported(path, state, answers, lambda ours: ours)


def read_yakhyo(path: Path, answers: Answers) -> Imported:
    """A state dict of yakhyo/face-parsing, such as `resnet18.pt` or `resnet34.pt`; or its trainer's `.ckpt`.

    Raises:
        RefusedFile: The file is no such state dict, or not of the 19 classes.
    """
    saved = read_checkpoint(path)
    with refusing(path):
        state = state_dict(saved, ["model", "state_dict"])
    used = {name: tensor for name, tensor in state.items() if name not in _UNUSED}
    imported = _imported(path, used, answers, _yakhyo_name)
    notes = (_UNUSED_NOTE,) if len(used) < len(state) else ()
    return replace(imported, notes=(*imported.notes, *notes))


def _yakhyo_name(ours: str) -> str:
    for pattern, theirs in _YAKHYO:
        ours = re.sub(pattern, theirs, ours)
    return ours


def _imported(
    path: Path, theirs: Mapping[str, Tensor], answers: Answers, rename: Rename
) -> Imported:
    """The model in a state dict; `rename` says what the file calls a tensor of ours. Both projects number the
    classes in BiSeNet's order; whoever trained their code on other label maps has to say so."""
    told = answers.label_order == CELEBAMASK_HQ
    with refusing(path):
        network = _network_arguments(theirs, rename)
        with torch.device("meta"):
            bisenet = BiSeNet(**network)
        names = {ours: rename(ours) for ours in bisenet.state_dict()}
        extra = theirs.keys() - names.values()
        state = {ours: theirs[name] for ours, name in names.items() if name in theirs}
        check_state(bisenet, state | {name: theirs[name] for name in extra}, path, names)
    return Imported(
        network=network,
        options={
            "side": _SIDE,
            "order": "celebamask-hq" if told else "bisenet",
            PREPROCESSING: answers.way,
        },
        weights=state,
        licence=_LICENCE,
        notes=(_CELEBAMASK_HQ_NOTE if told else _BISENET_NOTE,),
    )


def _network_arguments(theirs: Mapping[str, Tensor], rename: Rename) -> dict[str, Any]:
    """Classes, width and depth of the `BiSeNet` that a state dict belongs to.

    Raises:
        Refusal: A tensor that tells them is missing, or the classes are not the 19.
    """
    lengths = []
    for ours in ("conv_out.conv_out.weight", "cp.resnet.conv1.weight"):
        if rename(ours) not in theirs or theirs[rename(ours)].dim() != 4:
            raise Refusal(f"has no {rename(ours)}, which networks of this format have")
        lengths.append(len(theirs[rename(ours)]))
    classes, stem = lengths
    if classes != len(BISENET_CLASS_NAMES):
        raise Refusal(
            f"tells {classes} classes apart; only the {len(BISENET_CLASS_NAMES)} of CelebAMask-HQ can be"
            " served: train its heads on those"
        )
    blocks = []
    for stage in range(1, 5):
        prefix = re.escape(rename(f"cp.resnet.layer{stage}."))
        found = (re.match(rf"{prefix}(\d+)\.", name) for name in theirs)
        # A stage has at least one; what is missing of it is told when the tensors are compared.
        blocks.append(max(1, len({match[1] for match in found if match})))
    return {"classes": classes, "width": stem / _STEM_CHANNELS, "blocks": blocks}


FORMATS: Mapping[str, Callable[[Path, Answers], Imported]] = {
    "zllrunning": read_zllrunning,
    "yakhyo": read_yakhyo,
}
