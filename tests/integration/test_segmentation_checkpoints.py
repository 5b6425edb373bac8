"""Published face-parsing networks score pixels as an independent implementation does of the same numbers."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf.message import Message
from tests import samples
from tests.imported import assert_equal_output, assert_same_tensors, served
from tests.reference import bisenet as plain
from tests.reference.bisenet import RESNET18, RESNET34, State
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.layouts.classes import BISENET_CLASS_NAMES, CLASS_NAMES
from faceloom.segmentation.checkpoint import FORMATS
from faceloom.segmentation.network import IMAGENET_MEAN, IMAGENET_STD, BiSeNet


def zllrunning(state: State, path: Path, blocks: tuple[int, ...] = RESNET18) -> None:
    # Published before PyTorch 1.6.
    torch.save(state, path, _use_new_zipfile_serialization=False)


def yakhyo(state: State, path: Path, blocks: tuple[int, ...] = RESNET18) -> None:
    torch.save(plain.yakhyo_state(state, blocks=blocks), path)


def yakhyo_training(state: State, path: Path, blocks: tuple[int, ...] = RESNET18) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], 0.01, momentum=0.9)
    model = plain.yakhyo_state(state, blocks=blocks)
    saved = {"model": model, "optimizer": optimizer.state_dict(), "lr_scheduler": {}, "epoch": 9}
    torch.save(saved, path)


def read(form: str, path: Path) -> Imported:
    return FORMATS[form](path, Answers())


def loaded(found: Imported) -> BiSeNet:
    """The served network, of what a model folder would hold."""
    network = BiSeNet(**json.loads(json.dumps(found.network)))
    network.load_state_dict(found.weights, strict=True)
    return network.eval()


def picture(height: int, width: int) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("blocks", [RESNET18, RESNET34, (1, 2, 3, 1)])
@pytest.mark.parametrize("write", [zllrunning, yakhyo, yakhyo_training])
def test_scores(tmp_path: Path, write: Callable[..., None], blocks: tuple[int, ...]) -> None:
    state = plain.random_state(blocks=blocks)
    write(state, tmp_path / "net", blocks)

    found = read(write.__name__.partition("_")[0], tmp_path / "net")

    assert found.network == {"classes": 19, "width": 0.125, "blocks": list(blocks)}
    network = loaded(found)
    for height, width in ((64, 96), (72, 40)):
        image = picture(height, width)
        with torch.inference_mode():
            ours = network(image[None])[0]
        theirs = plain.scores(state, image)
        assert_equal_output(ours, theirs)


def asked(pixels: samples.Array) -> Message:
    return samples.with_images("segmentation", samples.raw(pixels))


@pytest.mark.parametrize("write", [zllrunning, yakhyo])
def test_classes_may_be_said_to_be_in_the_other_order(
    tmp_path: Path, write: Callable[..., None]
) -> None:
    state = plain.random_state()
    write(state, tmp_path / "net")
    random = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (512, 512, 3), generator=random, dtype=torch.uint8).numpy()
    drawn = {}
    for order in (None, "bisenet", "celebamask_hq"):
        found = FORMATS[write.__name__](tmp_path / "net", Answers(label_order=order))
        handler = served("segmentation", found, tmp_path / f"{order}")
        (drawn[order],) = handler.predict(None, handler.decode(asked(pixels)).samples)
        assert ("as was said on import" in found.notes[0]) == (order == "celebamask_hq")

    assert np.array_equal(drawn[None], drawn["bisenet"])
    names = [np.array(each)[drawn[order]] for each, order in (
        (CLASS_NAMES, "bisenet"), (BISENET_CLASS_NAMES, "celebamask_hq"),
    )]  # fmt: skip
    assert np.array_equal(*names) and len(np.unique(names[0])) > 3


def test_weights_wrapped_for_several_gpus(tmp_path: Path) -> None:
    state = plain.random_state()
    zllrunning({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "net")

    found = read("zllrunning", tmp_path / "net")

    assert_same_tensors(found.weights, state)


def test_what_was_found_is_told(tmp_path: Path) -> None:
    yakhyo(plain.random_state(), tmp_path / "net")

    found = read("yakhyo", tmp_path / "net")

    assert found.licence is not None and "non-commercial" in found.licence
    assert any("BiSeNet's order" in note for note in found.notes)
    assert any("ImageNet classifier" in note for note in found.notes)


def test_served_labels_are_in_celebamask_hqs_order(tmp_path: Path) -> None:
    state = plain.random_state(seed=3)
    zllrunning(state, tmp_path / "net")
    found = read("zllrunning", tmp_path / "net")
    handler = served("segmentation", found, tmp_path / "model")
    pixels = np.random.RandomState(0).randint(0, 256, (512, 512, 3), np.uint8)

    (labels,) = handler.predict(None, handler.decode(asked(pixels)).samples)

    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    image = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std
    theirs = plain.scores(state, image).argmax(0).numpy()
    seen = np.array([CLASS_NAMES[i] for i in labels.ravel()])
    expected = np.array([BISENET_CLASS_NAMES[i] for i in theirs.ravel()])
    assert len(set(expected)) > 3
    # At the border of two classes their scores are equal but for rounding.
    assert (seen == expected).mean() > 0.9999


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda s: s.pop("fpn.arm16.attention.1.bias"), r"no fpn\.arm16\.attention\.1\.bias"),
        (lambda s: s.pop("ffm.conv_block.norm.weight"), r"no ffm\.conv_block\.norm\.weight"),
        (lambda s: s.pop("conv_out.conv.weight"), r"has no conv_out\.conv\.weight"),
        (
            lambda s: s.update({"fpn.backbone.layer3.1.conv1.weight": torch.zeros(16, 16, 3, 3)}),
            r"fpn\.backbone\.layer3\.1\.conv1\.weight is \[16, 16, 3, 3\], not \[32, 32, 3, 3\]",
        ),
        (
            lambda s: s.update({"fpn.backbone.layer1.0.conv3.weight": torch.zeros(8, 8, 1, 1)}),
            r"fpn\.backbone\.layer1\.0\.conv3\.weight left over",
        ),
        (lambda s: s.update({"fc.weight": torch.zeros(1)}), r"fc\.weight left over"),
        (lambda s: s.update({"ffm.conv1.weight": [1.0]}), r"has ffm\.conv1\.weight, which is no"),
        (
            lambda s: s.update({"ffm.conv1.weight": torch.zeros(8, 32, 1, 1, dtype=torch.int8)}),
            r"has ffm\.conv1\.weight, which is no tensor of floating-point numbers",
        ),
    ],
)
def test_strictness_of_yakhyo(
    tmp_path: Path, change: Callable[[State], object], refusal: str
) -> None:
    state = plain.yakhyo_state(plain.random_state())
    change(state)
    torch.save(state, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(tmp_path / 'net'))}.*{refusal}"):
        read("yakhyo", tmp_path / "net")


@pytest.mark.parametrize("name", [name for name in plain.random_state() if "arm32" in name])
def test_strictness_of_zllrunning(tmp_path: Path, name: str) -> None:
    state = plain.random_state()
    tensor = state.pop(name)
    zllrunning(state, tmp_path / "missing")
    zllrunning(state | {name: torch.zeros(2, *tensor.shape)}, tmp_path / "misshapen")
    zllrunning(state | {name: tensor, f"{name}.more": torch.zeros(1)}, tmp_path / "more")

    with pytest.raises(RefusedFile, match=f"no {re.escape(name)}$"):
        read("zllrunning", tmp_path / "missing")
    with pytest.raises(RefusedFile, match=rf"{re.escape(name)} is \[2"):
        read("zllrunning", tmp_path / "misshapen")
    with pytest.raises(RefusedFile, match=rf"{re.escape(name)}\.more left over"):
        read("zllrunning", tmp_path / "more")


def test_other_classes_are_refused(tmp_path: Path) -> None:
    zllrunning(plain.random_state(classes=11), tmp_path / "net")

    with pytest.raises(RefusedFile, match="tells 11 classes apart; only the 19 of CelebAMask-HQ"):
        read("zllrunning", tmp_path / "net")


def test_one_format_is_not_taken_for_the_other(tmp_path: Path) -> None:
    zllrunning(plain.random_state(), tmp_path / "zllrunning")
    yakhyo(plain.random_state(), tmp_path / "yakhyo")

    with pytest.raises(RefusedFile, match=r"has no conv_out\.conv\.weight"):
        read("yakhyo", tmp_path / "zllrunning")
    with pytest.raises(RefusedFile, match=r"has no conv_out\.conv_out\.weight"):
        read("zllrunning", tmp_path / "yakhyo")


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        ([1, 2], "holds a list, not a state dict"),
        ({}, "holds no state dict"),
        ({f"{i}": torch.zeros(1) for i in range(3000)}, "far more tensors than a network"),
        ({"a" * 300: torch.zeros(1)}, "names that no network has"),
        ({"a": torch.zeros(1), "module.a": torch.zeros(1)}, "has a twice"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, refusal: str) -> None:
    torch.save(content, tmp_path / "net")

    with pytest.raises(RefusedFile, match=refusal):
        read("zllrunning", tmp_path / "net")


def test_layouts_are_the_published_ones() -> None:
    published = plain.random_state(width=64)

    assert len(published) == 191
    assert sum(tensor.numel() for name, tensor in published.items() if _learned(name)) == 13_300_416


def _learned(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
