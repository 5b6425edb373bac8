"""What PyTorch saved for any kind of model is imported from a safetensors file too: the same tensors."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.imported import assert_same_tensors
from tests.published import FILES, Published
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.importer import formats
from faceloom.checkpoints.untrusted import read_checkpoint

PICKLES = ("nvlabs", "tensorflow", "torch7", "sketchkeras")
TORCH = [file for file in FILES if file.form not in PICKLES]

State = dict[str, Tensor]
# How names are kept: as they are, or below something.
PLACED: dict[str, Callable[[State], State]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {f"state_dict.{name}": tensor for name, tensor in state.items()},
    "module": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "model": lambda state: {f"model.{name}": tensor for name, tensor in state.items()},
}


def read(published: Published, path: Path) -> Imported:
    answers = Answers()
    if published.kind == "quality":
        answers = Answers(classes=("bad", "good"), keep="good")
    if published.file == "psp_ffhq_encode.pt":
        answers = Answers(encoder="psp")
    if published.file == "psp_celebs_seg_to_face.pt":
        answers = Answers(label_order="celebamask_hq")
    form = "timm-mixnet_s" if published.form == "timm" else published.form
    return formats(published.kind)[form](path, answers)


def state_of(saved: dict[str, Any]) -> State:
    """The state in a checkpoint, and the mean latent beside it."""
    for place in ("g_ema", "state_dict_ema", "state_dict"):
        if place in saved:
            saved = saved[place] | {name: saved[name] for name in ("latent_avg",) if name in saved}
    return {name: tensor.contiguous().clone() for name, tensor in saved.items()}


def test_every_kind_is_tested() -> None:
    kinds = {"generator", "quality", "sketch", "segmentation", "translator", "losses"}
    assert {file.kind for file in TORCH} == kinds


# All readers take off prefixes in one place: each file is tried with one of them.
@pytest.mark.parametrize(
    ("published", "placed"),
    [
        pytest.param(file, placed, id=f"{placed}-{file.form}-{file.file}")
        for file, placed in zip(TORCH, cycle(PLACED), strict=False)
    ],
)
def test_the_same_tensors(published: Published, placed: str, tmp_path: Path) -> None:
    published.write(tmp_path / published.file, 0)
    state = state_of(read_checkpoint(tmp_path / published.file))
    flat = PLACED[placed](state)
    save_file(flat, tmp_path / "model.safetensors", {"format": "pt", "url": "nowhere"})

    found = read(published, tmp_path / "model.safetensors")

    known = read(published, tmp_path / published.file)
    assert found.network == known.network and found.options == known.options
    assert_same_tensors(found.weights, known.weights)


def test_a_file_under_another_name(tmp_path: Path) -> None:
    (published,) = (file for file in TORCH if file.file == "alex.pth")
    published.write(tmp_path / "weights.safetensors", 0)
    save_file(state_of(read_checkpoint(tmp_path / "weights.safetensors")), tmp_path / "weights.pth")

    by_name = [read(published, tmp_path / name) for name in ("weights.safetensors", "weights.pth")]

    assert_same_tensors(by_name[0].weights, by_name[1].weights)
    assert torch.is_tensor(by_name[0].weights["lin0.model.1.weight"])
