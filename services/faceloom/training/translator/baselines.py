"""What takes no learning: to answer with the known face whose condition looks most like the one given."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from faceloom.training.translator.pairs import Pairs, network_input

# Of the conditions that neighbours are searched by: half of it is large enough for where features are, and
# too small for how a line is drawn. Averaging two by two gives class ids shares.
SIDE: Final = 64

_PART: Final = 256


def neighbours(task: str, wanted: Pairs, known: Pairs) -> list[int]:
    """The places in `known` whose conditions are nearest to the wanted ones: by Euclidean distance at 32
    pixels, a little blurred.

    Args:
        task: What the conditions are, `sketch` or `segmentation`.
        wanted: Pairs with conditions of `SIDE` pixels.
        known: Many of the same; only some are unpacked at a time.
    """
    queries = glance(task, wanted.conditions)
    distances = [
        torch.cdist(queries, glance(task, part)) for part in torch.split(known.conditions, _PART)
    ]
    return torch.cat(distances, dim=1).argmin(dim=1).tolist()


def glance(task: str, conditions: Tensor) -> Tensor:
    """Conditions as the search sees them: uint8 [N, 1, 64, 64] -> [N, C * 32 * 32]."""
    small = F.avg_pool2d(network_input(task, conditions), 2)
    return F.avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False).flatten(1)
