"""Published weights of loss networks, imported: they compare pictures as an independent network does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.reference import losses
from torch import Tensor

from faceloom.checkpoints.import_result import Answers
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.core.errors import UsageError
from faceloom.store.model import BrokenModel
from faceloom.training.runs import save_model
from faceloom.training.translator.identity import load_identity
from faceloom.training.translator.losses_checkpoint import FORMATS
from faceloom.training.translator.lpips import load_lpips
from faceloom.training.translator.weight_files import digest_of

STATES = {
    "alexnet": losses.random_alexnet,
    "lpips": losses.random_heads,
    "ir_se50": losses.random_ir_se50,
}


def imported(form: str, folder: Path) -> Path:
    """The model folder of a published file."""
    # The files are older than PyTorch 1.6.
    torch.save(STATES[form](), folder / f"{form}.pth", _use_new_zipfile_serialization=False)
    found = FORMATS[form](folder / f"{form}.pth", Answers())
    save_model(
        folder / form, service="losses", network=found.network, options=found.options,
        weights=found.weights, licence=found.licence or "", sources=[], metrics={},
    )  # fmt: skip
    return folder / form


def images(count: int, side: int, seed: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_imported_lpips_is_what_the_paper_says(tmp_path: Path) -> None:
    parts = [imported("alexnet", tmp_path), imported("lpips", tmp_path)]
    image, target = images(2, 64, 0), images(2, 64, 1)

    got = load_lpips(parts)(image, target)

    want = losses.lpips(losses.random_alexnet() | losses.random_heads(), image, target)
    assert (got - want).abs().max() <= 1e-4 * want.max()
    # A run knows what it was compared with; files and folders may be mixed.
    mixed = [tmp_path / "alexnet.pth", parts[1]]
    assert torch.equal(load_lpips(mixed)(image, target), got)
    assert digest_of(parts) == digest_of(parts) != digest_of(parts[::-1])


def test_an_imported_identity_is_what_the_paper_says(tmp_path: Path) -> None:
    faces = images(2, 112, 2)
    state = losses.random_ir_se50()
    assert len(state) == 397

    network = load_identity(imported("ir_se50", tmp_path)).network

    with torch.inference_mode():
        got = network(faces)
    want = torch.stack([losses.identity(state, face) for face in faces])
    assert (want[0] - want[1]).abs().max() > 0.05
    assert (got - want).abs().max() <= 1e-4 * (want.max() - want.min())


@pytest.mark.parametrize(
    ("form", "change", "reason"),
    [
        ("alexnet", {"features.3.bias": None}, "no features.3.bias"),
        ("alexnet", {"features.1.bias": torch.zeros(1)}, "features.1.bias left over"),
        ("lpips", {"lin2.model.1.weight": None}, "no lin2.model.1.weight"),
        # LPIPS on VGG.
        (
            "lpips",
            {"lin1.model.1.weight": torch.zeros(1, 128, 1, 1)},
            "lin1.model.1.weight is [1, 128, 1, 1], not [1, 192, 1, 1]",
        ),
        ("lpips", {"classifier.6.bias": torch.zeros(1)}, "classifier.6.bias left over"),
        (
            "ir_se50",
            {"body.20.res_layer.5.fc1.weight": None},
            "no body.20.res_layer.5.fc1.weight",
        ),
        ("ir_se50", {"output_layer.3.bias": "x"}, "has output_layer.3.bias, which is no tensor"),
    ],
)
def test_what_is_not_exactly_the_network_is_refused(
    form: str, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    state: dict[str, Any] = STATES[form]() | change
    torch.save({name: value for name, value in state.items() if value is not None}, tmp_path / "x")

    with pytest.raises(RefusedFile) as caught:
        FORMATS[form](tmp_path / "x", Answers())

    assert str(caught.value).startswith(str(tmp_path / "x")) and reason in str(caught.value)


def test_a_folder_that_changed_or_is_of_something_else_is_refused(tmp_path: Path) -> None:
    heads = imported("lpips", tmp_path)
    with pytest.raises(UsageError, match=r"no features\.0\.bias, "):
        load_lpips([heads])

    with (heads / "weights.safetensors").open("ab") as file:
        file.write(b"?")
    with pytest.raises(BrokenModel, match="has changed"):
        load_lpips([heads])
    with pytest.raises(BrokenModel, match="is not a model"):
        load_identity(tmp_path)
