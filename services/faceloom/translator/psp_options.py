"""What a checkpoint of pixel2style2pixel says of itself: `opts`, the options of its trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceloom.generator.published import plain
from faceloom.runtime.errors import UsageError
from faceloom.store.imported import CELEBAMASK_HQ, Answers
from faceloom.store.untrusted import Refusal
from faceloom.translator.encoder_shape import ENCODER_TYPE
from faceloom.translator.model import SEGMENTATION

# Upstream's only data with layouts is CelebAMask-HQ.
_DATASET_ORDERS = {"celebs_seg_to_face": CELEBAMASK_HQ}
_LONGEST_NAME = 100


def read_options(saved: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """How the encoder was trained.

    Raises:
        Refusal: It is of another kind than what can be served.
    """
    said = saved.get("opts", {})
    if not isinstance(said, dict):
        raise Refusal("has opts that are no options")
    kind = plain(said.get("encoder_type", ENCODER_TYPE))
    if kind != ENCODER_TYPE:
        raise Refusal(f"has an encoder of type {kind}; only {ENCODER_TYPE} can be served")
    if plain(said.get("learn_in_w", False)):
        raise Refusal("was trained in W (learn_in_w); only encoders into W+ can be served")
    return said


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


def dataset_notes(said: Mapping[Any, Any]) -> tuple[str, ...]:
    """What the encoder was trained for, for the card."""
    dataset = _dataset_type(said)
    return (f"It was trained for `{dataset}`.",) if dataset else ()


def _dataset_type(said: Mapping[Any, Any]) -> str | None:
    name = said.get("dataset_type")
    known = isinstance(name, str) and len(name) <= _LONGEST_NAME and name.isidentifier()
    return name if known else None
