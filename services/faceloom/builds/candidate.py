"""A face on its way through the services."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faceloom.common.v1 import image_pb2
from faceloom.datasets.recipe import Platform
from faceloom.datasets.stage import Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class Candidate:
    """A face on its way: each service adds its part.

    Args:
        ordinal: Its place among the candidates.
        seed: What it is made from.
        id: Its name.
        image: Raw RGB pixels.
        z: float32 [z_dim].
        w: float32, what the synthesis network received.
        score: What the quality service says of it; nothing while it was not asked.
        made: What stages made of it, by kind; of pictures their pixels.
        files: Files of it that a pool has already, by kind.
        platforms: What services computed its parts on.
    """

    ordinal: int
    seed: int
    id: str
    image: image_pb2.Image | None = None
    z: "NDArray[np.float32] | None" = None
    w: "NDArray[np.float32] | None" = None
    score: float | None = None
    made: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    platforms: set[Platform] = field(default_factory=set)

    def has(self, stage: Stage) -> bool:
        """Whether there is all that a stage makes of it."""
        return all(kind.folder in self.made for kind in stage.outputs)

    def add(self, stage: Stage, values: Sequence[Any]) -> None:
        """What a stage made of it: a value per output."""
        for kind, value in zip(stage.outputs, values, strict=True):
            self.made[kind.folder] = value
