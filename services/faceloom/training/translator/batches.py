"""Which pictures a step sees, and how they are changed: a function of the seed and of the place alone.

Places count the pictures of the whole run: step * batch + position. Nothing is remembered between steps, so
a resumed run and any number of processes see the same pictures, and no last batch is dropped: a batch that
does not fit into an epoch goes on with the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from faceloom.training.translator.augment import DRAWS, Draws, augment
from faceloom.training.translator.pairs import Pairs, images, network_input
from faceloom.translator.model import SEGMENTATION

# Random streams that must not meet.
_ORDER, _CHANGES = 0, 1


@dataclass(frozen=True)
class PairBatch:
    """What one process computes at once.

    Args:
        x: What the encoder sees, [N, C, side, side].
        faces: What should come out, [N, 3, S, S] in [-1, 1].
        w: What the faces were made from, [N, style_dim].
    """

    x: Tensor
    faces: Tensor
    w: Tensor


class BatchOrder:
    """Every epoch is a permutation of all pictures."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def at(self, place: int) -> int:
        """The picture at a place of the run."""
        epoch, position = divmod(place, self._count)
        return int(self._epoch(epoch)[position])

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((self._seed, _ORDER, epoch)).permutation(self._count)


class Batches:
    """Pictures as training and validation see them.

    Args:
        task: Which pictures they are.
        pairs: The pictures.
        seed: Of order and augmentation.
        strength: Of augmentation.
        device: Where batches go.
    """

    def __init__(
        self, task: str, pairs: Pairs, seed: int, strength: float, device: torch.device
    ) -> None:
        self._task = task
        self._pairs = pairs
        self._seed = seed
        self._order = BatchOrder(len(pairs), seed)
        self._strength = strength
        self._device = device

    def at(self, places: Sequence[int]) -> PairBatch:
        """The augmented pictures at these places of the run."""
        rows = [
            np.random.default_rng((self._seed, _CHANGES, place)).random(DRAWS, np.float32)
            for place in places
        ]
        draws = Draws(torch.from_numpy(np.stack(rows)).to(self._device))
        return self._batch([self._order.at(place) for place in places], draws)

    def plain(self, indices: Sequence[int]) -> PairBatch:
        """Pictures as they are."""
        return self._batch(indices, None)

    def _batch(self, indices: Sequence[int], draws: Draws | None) -> PairBatch:
        chosen = torch.as_tensor(indices)
        conditions, faces, w = (
            tensor[chosen].to(self._device)
            for tensor in (self._pairs.conditions, self._pairs.faces, self._pairs.w)
        )
        x = self._input(conditions, draws).contiguous(memory_format=torch.channels_last)
        return PairBatch(x, images(faces), w)

    def _input(self, conditions: Tensor, draws: Draws | None) -> Tensor:
        if draws is None:
            return network_input(self._task, conditions)
        if self._task == SEGMENTATION:
            # Before they become one map per class: moving one map of ids is cheaper.
            conditions = augment(self._task, conditions, draws, self._strength)
            return network_input(self._task, conditions)
        x = network_input(self._task, conditions)
        return augment(self._task, x, draws, self._strength)
