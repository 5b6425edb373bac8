"""The networks that can draw, each with what it needs before and after it. A model's option `extractor` says
which one it is."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from faceloom.core.arrays import Pixels
from faceloom.sketch import sketch_keras
from faceloom.sketch.network import (
    SketchSimplification,
    apply_levels,
    crop_to,
    luminance,
    normalise,
    pad_to_stride,
)
from faceloom.store.model import UPSTREAM, Model
from faceloom.store.torch_model import load_weights, ready_network

SIMPLIFICATION: Final = "simplification"
SKETCH_KERAS: Final = "sketch_keras"


class Extractor(Protocol):
    """Draws pictures, one at a time."""

    def drawing(self, pixels: Pixels) -> Tensor:
        """uint8 [H,W,3] -> float32 [H,W] in [0,1], in which 1 is paper and 0 a full line."""


class SimplificationExtractor:
    """A Sketch Simplification network. Options: mean and std of its input, black and white of its output."""

    def __init__(self, model: Model, device: str) -> None:
        weights = load_weights(model)
        self._network = ready_network(SketchSimplification, model.network, weights, device)
        self._options: Mapping[str, Any] = model.options
        self._upstream = model.preprocessing == UPSTREAM
        self._device = device

    def drawing(self, pixels: Pixels) -> Tensor:
        grey = normalise(self._grey(pixels), self._options["mean"], self._options["std"])
        drawn = crop_to(self._network(pad_to_stride(grey)), pixels.shape[:2])
        return apply_levels(drawn, self._options["black"], self._options["white"])[0, 0]

    def _grey(self, pixels: Pixels) -> Tensor:
        """uint8 [H,W,3] -> luminance [1,1,H,W] in [0,1]. Upstream's is rounded to 8 bits, as Pillow's `L`."""
        if self._upstream:
            whole = np.array(Image.fromarray(pixels).convert("L"))
            return torch.from_numpy(whole).to(self._device)[None, None].float() / 255
        return luminance(
            torch.tensor(pixels, device=self._device).permute(2, 0, 1)[None].float() / 255
        )


class SketchKerasExtractor:
    """sketchKeras. Option: the threshold of its lines."""

    def __init__(self, model: Model, device: str) -> None:
        weights = load_weights(model)
        self._network = ready_network(sketch_keras.SketchKeras, model.network, weights, device)
        self._threshold: float = model.options["threshold"]
        self._device = device

    def drawing(self, pixels: Pixels) -> Tensor:
        detail = sketch_keras.detail(pixels).to(self._device)
        # One colour after the other: the three together take gigabytes.
        lines = torch.cat([self._network(detail[i : i + 1]) for i in range(len(detail))])
        height, width = pixels.shape[:2]
        return sketch_keras.drawing(lines, (height, width), self._threshold)


def new_extractor(model: Model, device: str) -> Extractor:
    """The extractor of a model, ready on `device`; Sketch Simplification if its options do not say."""
    kinds: dict[str, type[SimplificationExtractor] | type[SketchKerasExtractor]] = {
        SIMPLIFICATION: SimplificationExtractor,
        SKETCH_KERAS: SketchKerasExtractor,
    }
    return kinds[model.options.get("extractor", SIMPLIFICATION)](model, device)
