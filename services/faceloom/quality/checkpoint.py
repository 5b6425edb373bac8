"""The published formats of classifiers that can be imported: timm's `mixnet_s` and `tf_mixnet_s`.

Nothing in these files says what a class stands for, and the two networks have the same tensors: what the file
does not say has to be told.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.import_result import Answers, Imported, check_state
from faceloom.checkpoints.state_dict import state_dict
from faceloom.checkpoints.untrusted import Refusal, read_checkpoint, refusing
from faceloom.core.errors import UsageError
from faceloom.quality.network import BN_EPS, IMAGENET_MEAN, IMAGENET_STD, TF_BN_EPS, MixNetS
from faceloom.quality.preprocess import INTERPOLATIONS

# As timm's own loader prefers them: moving averages first.
_PLACES = ("state_dict_ema", "model_ema", "state_dict", "model")
_VARIANTS = ("mixnet_s", "tf_mixnet_s")
_IMAGENET_CLASSES = 1000
_THRESHOLD = 0.5
# What timm evaluates both networks with unless its arguments say otherwise.
_SIDE = 224
_CROP = 0.875
_INTERPOLATION = "bicubic"
_SIDES = range(32, 1025)
_SMALLEST_CROP = 0.1
# Arguments of timm's trainer that change what is computed, and the values that do not.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "in_chans": (3,),
    "gp": ("avg", "fast"),
    "crop_mode": ("center",),
    "model_kwargs": (),
}


def read_timm(path: Path, answers: Answers, variant: str | None = None) -> Imported:
    """A checkpoint of timm's `train.py`, or a bare state dict.

    Args:
        path: The file.
        answers: The classes in the order of the outputs, and the one to keep.
        variant: `mixnet_s` or `tf_mixnet_s`, for files that do not say which.

    Raises:
        RefusedFile: The file is no such checkpoint, or not of these networks.
        UsageError: It does not say which network it is, or the answers do not fit it.
    """
    saved = read_checkpoint(path)
    with refusing(path):
        state = state_dict(saved, _PLACES)
        arguments = _arguments(saved)
        told = _told_variant(saved, arguments)
        if told is not None and told not in _VARIANTS:
            raise Refusal(f"is a {told}; only {' and '.join(_VARIANTS)} can be served")
        if told and variant and told != variant:
            raise Refusal(f"says that it is a {told}, not a {variant}")
        options = _view_options(arguments)
        count = _class_count(state)
    _check_meaning(path, count, answers)
    variant = told or variant
    if variant is None:
        raise UsageError(
            f"{path} does not say whether it is a mixnet_s or a tf_mixnet_s, which have the same tensors;"
            " give --format timm-mixnet_s or timm-tf_mixnet_s"
        )
    padded = variant == "tf_mixnet_s"
    network: dict[str, Any] = {"num_classes": count, "tf_padding": padded}
    eps = _bn_eps(path, padded, arguments, answers)
    if eps is not None:
        network["bn_eps"] = eps
    with torch.device("meta"):
        check_state(MixNetS(**network), state, path)
    classes, keep = _classes(path, count, answers)
    threshold = _THRESHOLD if answers.threshold is None else answers.threshold
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {threshold}: scores are between 0 and 1")
    place = next((place for place in _PLACES if saved.get(place) is not None), None)
    return Imported(
        network=network,
        options={**options, "keep_index": classes.index(keep), "threshold": threshold},
        weights=state,
        notes=(
            *_notes(variant, place, classes, keep, threshold),
            *([f"Its batch norms have an epsilon of {eps:g}."] if eps is not None else []),
        ),
    )


def _arguments(saved: Mapping[str, Any]) -> dict[str, Any]:
    """What the trainer was called with, as far as it was saved: numbers, words, and lists of them."""
    arguments = saved.get("args")
    if not isinstance(arguments, dict):
        return {}
    plain = (bool, int, float, str, list, tuple, dict)
    return {name: value for name, value in arguments.items() if isinstance(value, plain) and value}


def _told_variant(saved: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """The network's name; trainers may be given one with an owner, or with a tag for its weights."""
    name = arguments.get("model") or saved.get("arch")
    if not isinstance(name, str) or name == "efficientnet":
        # The name of the class, which many networks share.
        return None
    return name.rpartition("/")[2].partition(".")[0]


def _class_count(state: Mapping[str, Tensor]) -> int:
    classifier = state.get("classifier.weight")
    if classifier is None or classifier.dim() != 2:
        raise Refusal("has no classifier.weight, which timm's MixNets have")
    if len(classifier) < 2:
        raise Refusal("has a single output; only classifiers of two or more classes can be served")
    return len(classifier)


def _bn_eps(
    path: Path, padded: bool, arguments: Mapping[str, Any], answers: Answers
) -> float | None:
    """What batch norms add to variances, if it is not what the variant has anyway.

    timm's trainer set it by --bn-eps, and up to 0.4.12 to TensorFlow's by --bn-tf; it is in no tensor.
    """
    usual = TF_BN_EPS if padded else BN_EPS
    with refusing(path):
        told = next(iter(_numbers(arguments, "bn_eps", 1)), None)
        if told is None and arguments:
            told = TF_BN_EPS if arguments.get("bn_tf") else usual
        if padded and told not in (None, usual):
            raise Refusal(
                f"was trained with a bn_eps of {told}, which not all versions of timm heed"
            )
    given = answers.bn_eps
    if told is not None and given is not None and told != given:
        raise UsageError(f"{path} was trained with a bn_eps of {told:g}; leave --bn-eps out")
    eps = told if given is None else given
    if eps is not None and not 0 < eps < 1:
        raise UsageError(
            f"{path}: the epsilon of its batch norms is {eps:g}; give one above 0 and below 1"
        )
    return None if eps == usual else eps


def _view_options(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """How timm would show the network a picture: the options of `Fit`, and what colours are normalised by."""
    for name, neutral in _NEUTRAL.items():
        if name in arguments and arguments[name] not in neutral:
            raise Refusal(f"was trained with {name} {arguments[name]!r}, which cannot be served")
    (side,) = _numbers(arguments, "img_size", 1) or [_SIDE]
    channels, height, width = _numbers(arguments, "input_size", 3) or [3, side, side]
    if channels != 3 or height != width or height not in _SIDES:
        raise Refusal(f"is for pictures of {width}x{height}x{channels}, which cannot be served")
    (crop,) = _numbers(arguments, "crop_pct", 1) or [_CROP]
    if not _SMALLEST_CROP <= crop <= 1:
        raise Refusal(f"crops pictures to {crop} of their side, which cannot be served")
    interpolation = arguments.get("interpolation", _INTERPOLATION)
    if interpolation not in INTERPOLATIONS:
        raise Refusal(f"resizes pictures by {interpolation!r}, which cannot be served")
    std = _numbers(arguments, "std", 3) or list(IMAGENET_STD)
    if min(std) <= 0:
        raise Refusal(f"was trained with a std of {std}")
    return {
        "side": int(height),
        "crop_pct": crop,
        "interpolation": interpolation,
        "mean": _numbers(arguments, "mean", 3) or list(IMAGENET_MEAN),
        "std": std,
    }


def _numbers(arguments: Mapping[str, Any], name: str, count: int) -> list[float]:
    """The numbers of an argument, or nothing if it was not given; a single number stands for all."""
    if name not in arguments:
        return []
    value = arguments[name]
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if len(numbers) == 1:
        numbers *= count
    plain = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
    if len(numbers) != count or not plain:
        raise Refusal(f"was trained with a {name} that is not {count} numbers")
    return numbers


def _check_meaning(path: Path, count: int, answers: Answers) -> None:
    if count == _IMAGENET_CLASSES and answers.classes is None:
        raise UsageError(
            f"{path} tells ImageNet's {count} classes apart, and none of them is a good face: train a"
            " new classifier on it, with one class for faces to keep"
        )


def _classes(path: Path, count: int, answers: Answers) -> tuple[tuple[str, ...], str]:
    """Names of the outputs, and which of them to keep."""
    if answers.classes is None or answers.keep is None:
        raise UsageError(
            f"{path} tells {count} classes apart and does not name them: give --classes, in the order of"
            " the outputs (folders of pictures are numbered in alphabetical order), and --keep, the one"
            " to keep; for example --classes bad,good --keep good"
        )
    if not len(answers.classes) == len(set(answers.classes)) == count:
        raise UsageError(
            f"{path} tells {count} classes apart; --classes is {','.join(answers.classes)}"
        )
    if answers.keep not in answers.classes:
        raise UsageError(f"--keep {answers.keep} is none of --classes {','.join(answers.classes)}")
    return answers.classes, answers.keep


def _notes(
    variant: str, place: str | None, classes: tuple[str, ...], keep: str, threshold: float
) -> tuple[str, ...]:
    numbered = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
    notes = [
        f"It is a {variant}; weights are those in `{place}`." if place else f"It is a {variant}.",
        f"Its outputs are {numbered}, as was said on import; the score is the share of {keep}.",
        f"Faces are accepted from a score of {threshold:g} on; scores are not calibrated.",
    ]
    if list(classes) != sorted(classes, key=str.casefold):
        notes.append(
            "The classes were not given in alphabetical order, in which folders of pictures are numbered:"
            " make sure that good faces get high scores."
        )
    return tuple(notes)


FORMATS: Mapping[str, Callable[[Path, Answers], Imported]] = {
    "timm": read_timm,
    **{f"timm-{variant}": partial(read_timm, variant=variant) for variant in _VARIANTS},
}
