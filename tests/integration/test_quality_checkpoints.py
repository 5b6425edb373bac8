"""Published classifiers score pictures as an independent implementation does of the same numbers."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import samples
from tests.imported import assert_equal_output, assert_same_tensors, served
from tests.reference import mixnet as plain
from tests.reference.mixnet import State
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.state_dict import weights
from faceloom.core.errors import UsageError
from faceloom.quality.checkpoint import FORMATS
from faceloom.quality.network import IMAGENET_MEAN, IMAGENET_STD, MixNetS
from faceloom.quality.preprocess import Fit
from faceloom.store.model import open_model
from faceloom.training.quality.finetune import fine_tune

ANSWERS = Answers(classes=("bad", "good"), keep="good")


def read(path: Path, form: str = "timm", answers: Answers = ANSWERS) -> Imported:
    return FORMATS[form](path, answers)


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def wrapped(state: State, *prefixes: str) -> State:
    return {"".join([*prefixes, name]): tensor for name, tensor in state.items()}


def images() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [
        torch.randn(3, height, width, generator=random) for height, width in [(64, 64), (75, 98)]
    ]


@pytest.mark.parametrize("variant", ["mixnet_s", "tf_mixnet_s"])
@pytest.mark.parametrize("classes", [2, 7])
def test_logits(tmp_path: Path, variant: str, classes: int) -> None:
    state = plain.random_state(classes)
    path = saved(plain.trained(state, model=variant), tmp_path / "model_best.pth.tar")
    names = tuple(f"{i}" for i in range(classes))

    found = read(path, answers=Answers(classes=names, keep="1"))

    network = MixNetS(**json.loads(json.dumps(found.network)))
    network.load_state_dict(found.weights, strict=True)
    network.eval()
    for image in images():
        with torch.inference_mode():
            ours = network(image[None])[0]
        theirs = plain.logits(state, image, tf=variant == "tf_mixnet_s")
        assert_equal_output(ours, theirs)


def test_variants_differ() -> None:
    # Otherwise, which one it is would not have to be known.
    state, (image, _) = plain.random_state(), images()
    theirs = [plain.logits(state, image, tf) for tf in (False, True)]

    assert (theirs[0] - theirs[1]).abs().max() > 0.01 * (theirs[0].max() - theirs[0].min())


def test_layout_is_the_published_one() -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for classes, count in ((2, 2_600_680), (1000, 4_134_606)):
        state = plain.random_state(classes)
        learned = [tensor for name, tensor in state.items() if not name.endswith(statistics)]
        assert len(state) == 396
        assert sum(map(torch.numel, learned)) == count


@pytest.mark.parametrize(
    "places",
    [
        ("state_dict_ema", "model_ema", "state_dict", "model"),
        ("model_ema", "state_dict", "model"),
        ("state_dict", "model"),
        ("model",),
    ],
)
def test_moving_averages_are_preferred(tmp_path: Path, places: tuple[str, ...]) -> None:
    state = plain.random_state()
    others = {place: {"classifier.weight": torch.zeros(9, 9)} for place in places[1:]}
    # A trainer without a moving average may save nothing in its place.
    empty = {place: None for place in ("state_dict_ema", "model_ema") if place not in places}
    content = {"args": plain.trainer_arguments(), **others, **empty, places[0]: state}

    found = read(saved(content, tmp_path / "net"))

    assert torch.equal(found.weights["classifier.weight"], state["classifier.weight"])
    assert f"`{places[0]}`" in found.notes[0]


@pytest.mark.parametrize("prefixes", [("module.",), ("_orig_mod.",), ("module.", "_orig_mod.")])
def test_wrapped_networks(tmp_path: Path, prefixes: tuple[str, ...]) -> None:
    state = plain.random_state()
    path = saved(plain.trained(wrapped(state, *prefixes)), tmp_path / "net")

    found = read(path)

    assert_same_tensors(found.weights, state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("variant", ["mixnet_s", "tf_mixnet_s"])
def test_bare_state_dict(tmp_path: Path, variant: str, zipped: bool) -> None:
    state = plain.random_state()
    torch.save(state, tmp_path / "net", _use_new_zipfile_serialization=zipped)

    found = read(tmp_path / "net", f"timm-{variant}")

    assert found.network == {"num_classes": 2, "tf_padding": variant == "tf_mixnet_s"}
    with pytest.raises(UsageError, match="give --format timm-mixnet_s or timm-tf_mixnet_s"):
        read(tmp_path / "net")


@pytest.mark.parametrize(
    ("arch", "model", "tf"),
    [
        ("mixnet_s", None, False),
        ("efficientnet", "tf_mixnet_s", True),
        ("hf-hub:timm/tf_mixnet_s.in1k", "hf-hub:timm/tf_mixnet_s.in1k", True),
        ("mixnet_s.ft_in1k", "mixnet_s.ft_in1k", False),
    ],
)
def test_the_variant_is_read(tmp_path: Path, arch: str, model: str | None, tf: bool) -> None:
    content = plain.trained(plain.random_state()) | {
        "arch": arch,
        "args": plain.trainer_arguments(model=model),
    }

    assert read(saved(content, tmp_path / "net")).network["tf_padding"] is tf


def test_half_precision(tmp_path: Path) -> None:
    state = plain.random_state()
    halves = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}

    found = read(saved(plain.trained(halves), tmp_path / "net"))

    assert weights(found.weights)["conv_stem.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("variant", "arguments", "said", "eps"),
    [
        # timm up to 0.4.12 takes TensorFlow's epsilon on this word, and pads as before.
        ("mixnet_s", {"bn_tf": True}, None, 1e-3),
        ("mixnet_s", {"bn_tf": True, "bn_eps": 0.05}, None, 0.05),
        ("mixnet_s", {"bn_tf": False}, None, 1e-5),
        ("tf_mixnet_s", {"bn_tf": True}, None, 1e-3),
        ("mixnet_s", None, 1e-3, 1e-3),
        ("tf_mixnet_s", None, 1e-5, 1e-5),
    ],
)
def test_the_epsilon_of_batch_norms(
    variant: str, arguments: dict[str, Any] | None, said: float | None, eps: float, tmp_path: Path
) -> None:
    state = plain.random_state()
    told = arguments is not None
    content = plain.trained(state, model=variant, **arguments) if arguments is not None else state
    path = saved(content, tmp_path / "net")

    form = "timm" if told else f"timm-{variant}"
    found = read(path, form, replace(ANSWERS, bn_eps=said))

    network = MixNetS(**json.loads(json.dumps(found.network)))
    network.load_state_dict(found.weights, strict=True)
    with torch.inference_mode():
        ours = network.eval()(images()[0][None])[0]
    tf = variant == "tf_mixnet_s"
    assert_equal_output(ours, plain.logits(state, images()[0], tf, eps))
    usual = 1e-3 if tf else 1e-5
    assert ("epsilon of" in " ".join(found.notes)) == (eps != usual)


def test_how_pictures_were_shown_is_read(tmp_path: Path) -> None:
    usual = read(saved(plain.trained(plain.random_state()), tmp_path / "usual"))
    given = plain.trained(
        plain.random_state(), input_size=[3, 160, 160], crop_pct=0.95, mean=[0.5],
        std=[0.25, 0.5, 1.0], interpolation="bilinear",
    )  # fmt: skip
    other = read(saved(given, tmp_path / "other"))
    smaller = read(saved(plain.trained(plain.random_state(), img_size=128), tmp_path / "smaller"))

    assert usual.options == {
        "side": 224, "crop_pct": 0.875, "interpolation": "bicubic", "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD), "keep_index": 1, "threshold": 0.5,
    }  # fmt: skip
    assert other.options == {
        "side": 160, "crop_pct": 0.95, "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 1.0], "keep_index": 1, "threshold": 0.5,
    }  # fmt: skip
    assert smaller.options["side"] == 128


def test_the_class_to_keep_is_the_one_that_was_said(tmp_path: Path) -> None:
    path = saved(plain.trained(plain.random_state(3)), tmp_path / "net")
    classes = ("average", "bad", "good")

    found = read(path, answers=Answers(classes=classes, keep="average", threshold=0.75))

    assert (found.options["keep_index"], found.options["threshold"]) == (0, 0.75)
    assert "0 average, 1 bad, 2 good" in found.notes[1]
    assert not any("alphabetical" in note for note in found.notes)
    turned = read(path, answers=Answers(classes=classes[::-1], keep="average"))
    assert turned.options["keep_index"] == 2
    assert any("not given in alphabetical order" in note for note in turned.notes)


def test_served_scores(tmp_path: Path) -> None:
    state = plain.random_state(3)
    given = plain.trained(state, crop_pct=0.8, img_size=96, mean=[0.5, 0.4, 0.3])
    answers = Answers(classes=("a", "b", "c"), keep="b", threshold=0.25)
    found = read(saved(given, tmp_path / "net"), answers=answers)
    handler = served("quality", found, tmp_path / "model")
    pictures = [samples.face(i, 200, 200) for i in range(handler.compute_batch)]
    request = samples.with_images("quality", *map(samples.raw, pictures))

    work = handler.decode(request)
    response = handler.encode(request, handler.predict(work.key, work.samples))

    for picture, quality in zip(pictures, response.qualities, strict=True):
        # The 96 pixels in the middle of 120.
        small = Image.fromarray(picture).resize((120, 120), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(small)[12:108, 12:108]).permute(2, 0, 1) / 255
        mean, std = torch.tensor([[0.5, 0.4, 0.3], IMAGENET_STD])[:, :, None, None]
        scores = plain.logits(state, (pixels - mean) / std, tf=False).softmax(0)
        assert quality.score == pytest.approx(scores[1].item(), abs=1e-4)
        assert quality.accepted == (quality.score >= 0.25)
    assert response.threshold == 0.25
    assert len({quality.score for quality in response.qualities}) == len(pictures)


@pytest.mark.parametrize("size", [(200, 200), (300, 217), (150, 400), (96, 96), (40, 64)])
def test_pictures_are_scaled_and_cropped_as_timm_does(size: tuple[int, int]) -> None:
    width, height = size
    pixels = samples.face(1, width, height)

    ours = Fit(96, 0.875)(pixels)

    # The shorter side becomes floor(96 / 0.875) pixels, and the middle is kept.
    wanted = [int(109 * side / min(size)) for side in size]
    scaled = np.asarray(Image.fromarray(pixels).resize(wanted, Image.Resampling.BICUBIC))
    top, left = round((wanted[1] - 96) / 2), round((wanted[0] - 96) / 2)
    difference = ours.astype(int) - scaled[top : top + 96, left : left + 96]
    assert np.abs(difference).max() <= 1


def test_a_very_long_picture_takes_little_memory() -> None:
    assert Fit(224, 0.875)(np.zeros((16, 4096, 3), np.uint8)).shape == (224, 224, 3)


def test_an_imported_filter_is_not_taught_by_a_recipe_for_others(tmp_path: Path) -> None:
    found = read(saved(plain.trained(plain.random_state()), tmp_path / "net"))
    served("quality", found, tmp_path / "model")

    with pytest.raises(UsageError, match="was imported; teach it with the trainer that made it"):
        fine_tune(None, open_model(tmp_path / "model"), tmp_path / "out", tmp_path / "checkpoint")  # type: ignore[arg-type]
