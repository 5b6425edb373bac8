"""What a checkpoint of pixel2style2pixel or encoder4editing says of itself: `opts`, the options of its
trainer."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faceloom.checkpoints.import_result import CELEBAMASK_HQ, E4E, PSP, Answers
from faceloom.checkpoints.untrusted import Refusal
from faceloom.core.errors import UsageError
from faceloom.store.model import UPSTREAM
from faceloom.stylegan2.published import plain
from faceloom.translator.encoder_shape import ENCODER_TYPE
from faceloom.translator.model import FACE, SEGMENTATION

# What upstream's encoders are called here, and all those of ReStyle.
_KINDS = {ENCODER_TYPE: PSP, "Encoder4Editing": E4E}
_RESTYLE = re.compile(r"(ResNet)?(Progressive)?BackboneEncoder")
# Only encoder4editing has a discriminator of latents, and keeps it with what it needs to train on.
_E4E_PART = "discriminator_state_dict"
# Upstream's only data with layouts is CelebAMask-HQ.
_DATASET_ORDERS = {"celebs_seg_to_face": CELEBAMASK_HQ}
_LONGEST_NAME = 100
_SUPER_RESOLUTION = "celebs_super_resolution"
# Upstream's, where its options say none.
_RESIZE_FACTORS = "1,2,4,8,16,32"
_LONGEST_FACTOR = 6


def read_options(saved: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """How the encoder was trained.

    Raises:
        Refusal: It is of another kind than what can be served.
    """
    said = saved.get("opts", {})
    if not isinstance(said, dict):
        raise Refusal("has opts that are no options")
    kind = plain(said.get("encoder_type", ENCODER_TYPE))
    if isinstance(kind, str) and _RESTYLE.fullmatch(kind):
        raise Refusal(
            f"is a ReStyle encoder ({kind}); only {' and '.join(_KINDS)} can be served: pSp and e4e"
        )
    if kind not in _KINDS:
        raise Refusal(f"has an encoder of type {kind}; only {' and '.join(_KINDS)} can be served")
    if plain(said.get("learn_in_w", False)):
        raise Refusal("was trained in W (learn_in_w); only encoders into W+ can be served")
    return said


def encoder_kind(
    path: Path, task: str, saved: Mapping[Any, Any], said: Mapping[Any, Any], answers: Answers
) -> str:
    """PSP or E4E: their encoders of faces have the same tensors, and make other styles of them.

    Raises:
        UsageError: Neither the file nor a person says it, or the two contradict each other.
    """
    told = _KINDS.get(str(said.get("encoder_type")))
    if told is None and saved.get(_E4E_PART) is not None:
        told = E4E
    if told is None and task != FACE:
        # encoder4editing takes faces only.
        told = PSP
    given = answers.encoder
    if told is None and given is None:
        raise UsageError(
            f"{path} does not say whether its encoder is pixel2style2pixel's or encoder4editing's, which have"
            f" the same tensors: give --encoder {PSP} or --encoder {E4E}"
        )
    if told and given and told != given:
        raise UsageError(f"{path} has an encoder of {told}, not of {given}; leave --encoder out")
    return told or given or PSP


def check_options(
    encoder: Mapping[str, Any], decoder: Mapping[str, Any], said: Mapping[Any, Any]
) -> None:
    """Make sure that the arguments of encoder and decoder fit each other and the options.

    Raises:
        Refusal: They do not.
    """
    # Two for every side from 4 pixels on.
    layers = 2 * (int(decoder["size"]).bit_length() - 2)
    if encoder["n_styles"] != layers:
        raise Refusal(f"has {encoder['n_styles']} styles, for a decoder of {layers} layers")
    if encoder["style_dim"] != decoder["style_dim"]:
        raise Refusal(
            f"has styles of {encoder['style_dim']}, for a decoder of {decoder['style_dim']}"
        )
    facts = {"input_nc": encoder["input_nc"], "output_size": decoder["size"], "n_styles": layers}
    facts |= {"stylegan_size": decoder["size"]}
    for name, found in facts.items():
        option = plain(said.get(name, found))
        if option != found:
            raise Refusal(f"says that {name} is {option}; by its tensors it is {found}")


def label_order(path: Path, task: str, said: Mapping[Any, Any], answers: Answers) -> str | None:
    """In which order an encoder of layouts takes its classes; nothing for encoders of other pictures.

    Upstream's settings are used with other people's layouts too, so a person's word goes before the file's.

    Raises:
        UsageError: Neither the file nor a person says it.
    """
    given = answers.label_order
    if task != SEGMENTATION:
        if given is not None:
            raise UsageError(f"{path} takes no layouts; leave --label-order out")
        return None
    order = given or _DATASET_ORDERS.get(_dataset_type(said) or "")
    if order is None:
        raise UsageError(
            f"{path} does not say in which order its classes are: give --label-order, celebamask_hq (as"
            " pixel2style2pixel has them) or bisenet (as face-parsing.PyTorch has them)"
        )
    return order


def preprocessing(
    path: Path, task: str, factors: Sequence[int], order: str | None, answers: Answers
) -> dict[str, Any]:
    """How pictures come to the encoder, for `translator.preprocessing`.

    Raises:
        UsageError: It learned several factors, and nobody says which one to serve; or one was said in vain.
    """
    wanted = answers.resize_factor
    if wanted is not None and (wanted not in factors or answers.way != UPSTREAM):
        known = ", ".join(map(str, factors)) or "none"
        raise UsageError(
            f"--resize-factor {wanted}: {path} learned {known}, and only upstream's way has them"
        )
    if answers.way != UPSTREAM:
        return {"way": answers.way}
    shown: dict[str, Any] = {"way": UPSTREAM}
    if task == SEGMENTATION:
        shown["order"] = order
    if factors:
        if wanted is None and len(factors) > 1:
            raise UsageError(
                f"{path} learned faces that were made {', '.join(map(str, factors))} times smaller: say"
                " with --resize-factor which of them is served; 1 is for pictures that are small already"
            )
        shown["resize_factor"] = wanted or factors[0]
    return shown


def resize_factors(said: Mapping[Any, Any], side: int) -> list[int]:
    """By how much an encoder's faces were made smaller in its training; none but for super-resolution.

    Raises:
        Refusal: They cannot be.
    """
    if _dataset_type(said) != _SUPER_RESOLUTION:
        return []
    text = plain(said.get("resize_factors")) or _RESIZE_FACTORS
    numbers = str(text).split(",")
    if not all(number.strip().isdecimal() and len(number) < _LONGEST_FACTOR for number in numbers):
        raise Refusal(f"has resize_factors {text!r}, which are no numbers")
    factors = [int(number) for number in numbers]
    if not all(factor >= 1 and 2 * factor <= side for factor in factors):
        raise Refusal(f"has resize_factors {text}, for pictures of {side} pixels")
    return factors


def dataset_notes(said: Mapping[Any, Any]) -> tuple[str, ...]:
    """What the encoder was trained for, for the card."""
    dataset = _dataset_type(said)
    return (f"It was trained for `{dataset}`.",) if dataset else ()


def _dataset_type(said: Mapping[Any, Any]) -> str | None:
    name = said.get("dataset_type")
    known = isinstance(name, str) and len(name) <= _LONGEST_NAME and name.isidentifier()
    return name if known else None
