"""How pictures come to the encoders of a model: as this project's learned them, or as the project that
published an encoder shows them. A model's option `preprocessing` says it for every task:

    {"segmentation": {"way": "upstream", "order": "bisenet"}, "face": {"way": "upstream", "resize_factor": 8}}
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from faceloom.checkpoints.import_result import CELEBAMASK_HQ
from faceloom.core.arrays import Pixels
from faceloom.store.model import FACELOOM, PREPROCESSING, UPSTREAM
from faceloom.translator import conditions, upstream
from faceloom.translator.model import FACE, SEGMENTATION, SKETCH
from faceloom.translator.paper import check_not_white, on_white_paper


class Preprocessing:
    """The pictures of requests to the pictures of encoders.

    Args:
        options: Of the model. Tasks that they say nothing about are this project's.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._said: Mapping[str, Mapping[str, Any]] = options.get(PREPROCESSING, {})

    def sketch(self, grey: Pixels, side: int) -> Tensor:
        """A drawing, uint8 [H, W] -> float32 [1, side, side] in [0, 1].

        Raises:
            InvalidArgument: There is nothing on it, or it is a photograph.
        """
        if self._is_upstream(SKETCH):
            check_not_white(grey)
            return upstream.sketch_tensor(grey, side)
        return conditions.sketch_tensor(on_white_paper(grey), side)

    def layout(self, labels: Pixels, side: int) -> Tensor:
        """Ids in CelebAMask-HQ's order, uint8 [H, W] -> one-hot float32 [19, side, side]."""
        if self._is_upstream(SEGMENTATION):
            order = self._said[SEGMENTATION].get("order", CELEBAMASK_HQ)
            return upstream.layout_tensor(labels, side, order)
        return conditions.layout_tensor(labels, side)

    def face(self, pixels: Pixels, side: int) -> Tensor:
        """A face, uint8 [H, W, 3] -> float32 [3, side, side] in [-1, 1]."""
        if self._is_upstream(FACE):
            return upstream.face_tensor(pixels, side, self._said[FACE].get("resize_factor"))
        return conditions.face_tensor(pixels, side)

    def _is_upstream(self, task: str) -> bool:
        return bool(self._said.get(task, {}).get("way", FACELOOM) == UPSTREAM)
