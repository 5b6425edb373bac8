"""Classifiers that are not whole, or cannot be served, are refused; what a file does not say is asked for."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.reference import mixnet as plain

from faceloom.checkpoints.import_result import Answers, Imported
from faceloom.checkpoints.untrusted import RefusedFile
from faceloom.core.errors import UsageError
from faceloom.quality.checkpoint import FORMATS

ANSWERS = Answers(classes=("bad", "good"), keep="good")


def read(path: Path, form: str = "timm", answers: Answers = ANSWERS) -> Imported:
    return FORMATS[form](path, answers)


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("answers", "question"),
    [
        (Answers(), "2 classes apart and does not name them: give --classes, .* --keep good"),
        (Answers(keep="good"), "give --classes"),
        (Answers(classes=("bad", "good")), "and --keep"),
        (Answers(classes=("bad", "fair", "good"), keep="good"), "--classes is bad,fair,good"),
        (Answers(classes=("good", "good"), keep="good"), "--classes is good,good"),
        (
            Answers(classes=("bad", "good"), keep="nice"),
            "--keep nice is none of --classes bad,good",
        ),
    ],
)
def test_what_the_file_does_not_say_is_asked_for(
    tmp_path: Path, answers: Answers, question: str
) -> None:
    path = saved(plain.trained(plain.random_state()), tmp_path / "net")

    with pytest.raises(UsageError, match=f"{re.escape(str(path))}.*{question}|^{question}"):
        read(path, answers=answers)


def test_imagenets_classes_are_no_taste(tmp_path: Path) -> None:
    path = saved(plain.random_state(1000), tmp_path / "mixnet_s-a907afbc.pth")

    with pytest.raises(
        UsageError, match="ImageNet's 1000 classes apart, and none of them is a good"
    ):
        read(path, "timm", Answers())


@pytest.mark.parametrize(
    ("arguments", "eps", "refusal"),
    [
        ({}, 1e-3, "was trained with a bn_eps of 1e-05; leave --bn-eps out"),
        ({"bn_tf": True}, 1e-5, "was trained with a bn_eps of 0.001; leave --bn-eps out"),
        ({"bn_eps": 0.5}, 0.25, "was trained with a bn_eps of 0.5; leave --bn-eps out"),
        ({"bn_eps": 2}, None, "the epsilon of its batch norms is 2; give one above 0 and below 1"),
    ],
)
def test_an_epsilon_that_contradicts(
    tmp_path: Path, arguments: dict[str, Any], eps: float | None, refusal: str
) -> None:
    path = saved(plain.trained(plain.random_state(), **arguments), tmp_path / "net")

    with pytest.raises(UsageError, match=f"{re.escape(str(path))}.*{refusal}"):
        read(path, answers=replace(ANSWERS, bn_eps=eps))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"blocks.2.1.se.conv_reduce.bias": None}, r"no blocks\.2\.1\.se\.conv_reduce\.bias"),
        ({"bn2.running_var": None}, r"no bn2\.running_var"),
        ({"classifier.weight": None}, r"has no classifier\.weight"),
        ({"blocks.4.1.conv_dw.4.weight": torch.zeros(1)}, r"blocks\.4\.1\.conv_dw\.4\.weight left"),
        ({"conv_stem.weight": torch.zeros(16, 1, 3, 3)}, r"conv_stem\.weight is \[16, 1, 3, 3\]"),
        ({"classifier.weight": torch.zeros(1, 1536)}, "has a single output"),
        ({"classifier.bias": torch.zeros(3)}, r"classifier\.bias is \[3\], not \[2\]"),
        ({"conv_head.weight": 1}, r"has conv_head\.weight, which is no tensor"),
    ],
)
def test_strictness(tmp_path: Path, change: dict[str, Any], refusal: str) -> None:
    state = {**plain.random_state(), **change}
    content = plain.trained({name: value for name, value in state.items() if value is not None})
    path = saved(content, tmp_path / "net")

    with pytest.raises(RefusedFile, match=f"{re.escape(str(path))}.*{refusal}"):
        read(path)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"model": "mixnet_m"}, "is a mixnet_m; only mixnet_s and tf_mixnet_s can be served"),
        ({"input_size": [3, 224, 192]}, "is for pictures of 192x224x3"),
        ({"input_size": [1, 224, 224]}, "is for pictures of 224x224x1"),
        ({"input_size": [3, 10**9, 10**9]}, "is for pictures of"),
        ({"img_size": 10**9}, "is for pictures of"),
        ({"crop_pct": 1.5}, "crops pictures to 1.5"),
        ({"crop_pct": 1e-300}, "crops pictures to 1e-300"),
        ({"crop_pct": float("nan")}, "crop_pct that is not 1 numbers"),
        ({"mean": [0.5, 0.5]}, "mean that is not 3 numbers"),
        ({"mean": ["0.5"] * 3}, "mean that is not 3 numbers"),
        ({"std": [0.0]}, r"std of \[0.0, 0.0, 0.0\]"),
        ({"interpolation": "random"}, "resizes pictures by 'random'"),
        (
            {"model": "tf_mixnet_s", "bn_eps": 1e-4},
            "trained with a bn_eps of 0.0001, which not all",
        ),
        ({"bn_eps": "small"}, "trained with a bn_eps that is not 1 numbers"),
        ({"gp": "max"}, "trained with gp 'max'"),
        ({"crop_mode": "squash"}, "trained with crop_mode 'squash'"),
        ({"model_kwargs": {"act_layer": "gelu"}}, "trained with model_kwargs"),
    ],
)
def test_what_cannot_be_served_is_refused(
    tmp_path: Path, arguments: dict[str, Any], refusal: str
) -> None:
    path = saved(plain.trained(plain.random_state(), **arguments), tmp_path / "net")

    with pytest.raises(RefusedFile, match=refusal):
        read(path)


def test_a_format_that_the_file_contradicts_is_refused(tmp_path: Path) -> None:
    path = saved(plain.trained(plain.random_state()), tmp_path / "net")

    with pytest.raises(RefusedFile, match="says that it is a mixnet_s, not a tf_mixnet_s"):
        read(path, "timm-tf_mixnet_s")
