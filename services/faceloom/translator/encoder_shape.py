"""What the tensors of a pixel2style2pixel encoder say about its shape."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor

from faceloom.checkpoints.untrusted import Refusal

# What upstream calls the kind of encoder that reads its styles off maps of several sizes.
ENCODER_TYPE = "GradualStyleEncoder"
# Of ReStyle's encoders: the picture, and the face that the last step made of it.
_RESTYLE_CHANNELS = 6
# The first convolution, of ReStyle's encoders on ResNet too.
_FIRST = ("input_layer.0.weight", "conv1.weight")


def encoder_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Channels, depth, widths and so on of the `GradualStyleEncoder` that a state belongs to.

    Raises:
        Refusal: A tensor that tells them is missing or has no such axis, or there are not four units.
    """

    def length(name: str, axis: int) -> int:
        if name not in state:
            raise Refusal(f"has no encoder.{name}")
        shape = list(state[name].shape)
        if len(shape) <= axis or not shape[axis]:
            raise Refusal(f"has encoder.{name} in the shape {shape}, which cannot be")
        return int(shape[axis])

    if any(list(state[name].shape[1:2]) == [_RESTYLE_CHANNELS] for name in _FIRST if name in state):
        raise Refusal(
            "is a ReStyle encoder, which sees its own last face beside the picture, again and again; only"
            " encoders of pSp and e4e can be served"
        )
    # Where the width changes, the way around a block has weights too.
    wider = _numbers(state, r"body\.(\d{1,2})\.shortcut_layer\.0\.weight")
    if len(wider) != 3:
        raise Refusal(f"has a body of {len(wider) + 1} widths, where a {ENCODER_TYPE} has four")
    bounds = [0, *wider, _count(state, r"body\.(\d{1,2})\.")]
    return {
        "input_nc": length("input_layer.0.weight", 1),
        "n_styles": _count(state, r"styles\.(\d{1,2})\."),
        "style_dim": length("styles.0.linear.weight", 0),
        # The first styles are read where the picture was halved four times.
        "side": 2 ** (4 + len(_numbers(state, r"styles\.0\.convs\.(\d{1,2})\.weight"))),
        "blocks": [end - start for start, end in pairwise(bounds)],
        "widths": [
            length("input_layer.0.weight", 0),
            *(length(f"body.{index}.shortcut_layer.0.weight", 0) for index in wider),
        ],
    }


def _numbers(names: Iterable[str], pattern: str) -> list[int]:
    """The numbers in the names of this pattern, in order."""
    matches = (re.match(pattern, name) for name in names)
    return sorted({int(match[1]) for match in matches if match})


def _count(names: Iterable[str], pattern: str) -> int:
    return max(_numbers(names, pattern), default=-1) + 1
