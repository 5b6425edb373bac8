"""The classes of layouts are in an order that the file says, or a person; models take CelebAMask-HQ's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.commands import Done, faceloom
from tests.published import NVIDIA, random_psp
from tests.reference import psp as plain
from tests.samples import Array
from tests.translators import bytes_of, labels8, layout, loaded, map_of, translate
from torch import Tensor

from faceloom.translator.v1 import translator_pb2 as pb

# What a class of CelebAMask-HQ's order is in BiSeNet's, by the names in both projects' code.
IN_BISENET = [0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16]
SIDE = 64


def imported(folder: Path, dataset: str | None, *options: str, channels: int = 19) -> Done:
    """What came of a file that was trained for that."""
    content = plain.checkpoint(random_psp(channels))
    content["opts"] |= {"dataset_type": dataset}
    if dataset is None:
        del content["opts"]["dataset_type"]
    torch.save(content, folder / "psp.pt")
    command = ["--kind", "translator", "--format", "psp", "--name", "mine", "--license", NVIDIA]
    return faceloom("models", "import", *command, *options, folder / "psp.pt", store=folder)


def small_layout() -> Array:
    """With every id, of the encoder's side, which no resizing changes."""
    return layout(3)[::2, ::2]


def one_hot(ids: Array) -> Tensor:
    """[64, 64] -> [19, 64, 64]"""
    return torch.nn.functional.one_hot(torch.from_numpy(ids).long(), 19).permute(2, 0, 1).float()


@pytest.mark.parametrize(
    ("dataset", "options", "order"),
    [
        ("celebs_seg_to_face", [], range(19)),
        ("celebs_seg_to_face", ["--label-order", "celebamask_hq"], range(19)),
        (None, ["--label-order", "celebamask_hq"], range(19)),
        (None, ["--label-order", "bisenet"], IN_BISENET),
        ("pretty_layouts", ["--label-order", "bisenet"], IN_BISENET),
        # Upstream's settings with layouts from face-parsing.PyTorch.
        ("celebs_seg_to_face", ["--label-order", "bisenet"], IN_BISENET),
    ],
)
def test_a_layout_becomes_the_face_that_its_own_code_makes(
    dataset: str | None, options: list[str], order: Any, tmp_path: Path
) -> None:
    done = imported(tmp_path, dataset, *options)
    assert done.code == 0, done.err
    ids = small_layout()

    handler = loaded(tmp_path / "models" / "translator" / "mine" / "1")
    (made,) = translate(handler, layout=map_of(labels8(ids)), return_latents=True)

    net = random_psp(19)
    code = plain.w_plus_of(net, one_hot(np.array(order)[ids]))
    ours = torch.tensor(made.w_plus).view(6, 12)
    assert (ours - code).abs().max() <= 1e-4 * (code.max() - code.min())
    face = (plain.face_of(net, code).permute(1, 2, 0) * 127.5 + 128).clamp(0, 255)
    pixels = np.frombuffer(made.image.data, np.uint8).reshape(16, 16, 3)
    assert np.abs(pixels - face.numpy()).max() <= 1 and pixels.std() > 10
    # A request may have its classes in either order, whatever the encoder was trained with.
    numbered = labels8(np.array(IN_BISENET, np.uint8)[ids])
    other = map_of(numbered, pb.LABEL_ORDER_BISENET)
    assert bytes_of(translate(handler, layout=other)) == [made.image.data]


def test_the_orders_are_told_apart(tmp_path: Path) -> None:
    net, ids = random_psp(19), small_layout()

    one, other = (
        plain.encoded(net.encoder, one_hot(each)) for each in (ids, np.array(IN_BISENET)[ids])
    )

    assert (one - other).abs().max() > 0.01 * (one.max() - one.min())


@pytest.mark.parametrize("dataset", [None, "pretty_layouts"])
def test_an_order_that_is_not_known_is_asked_for(dataset: str | None, tmp_path: Path) -> None:
    done = imported(tmp_path, dataset)

    assert done.code == 2 and done.err.count("\n") == 1
    assert "does not say in which order its classes are: give --label-order" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["psp.pt"]


def test_drawings_have_no_classes(tmp_path: Path) -> None:
    done = imported(tmp_path, None, "--label-order", "bisenet", channels=1)

    assert done.code == 2 and "takes no layouts; leave --label-order out" in done.err


def test_the_card_says_that_channels_were_brought_in_order(tmp_path: Path) -> None:
    imported(tmp_path, None, "--label-order", "bisenet")
    card = (tmp_path / "models" / "translator" / "mine" / "1" / "README.md").read_text()

    assert "trained with layouts in BiSeNet's order" in card
