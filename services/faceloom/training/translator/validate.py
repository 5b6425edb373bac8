"""How good an encoder is on faces it was not trained on, and what that looks like."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from faceloom.layouts.classes import PALETTE
from faceloom.stylegan2.network import Generator
from faceloom.training.contact_sheets import to_uint8
from faceloom.training.runs import contact_sheet
from faceloom.training.translator.batches import Batches, PairBatch
from faceloom.training.translator.losses import Criterion
from faceloom.translator.model import SEGMENTATION, SKETCH

MOST_PAIRS: Final = 256
_SHOWN = 12
# Three pictures belong together; this many such rows lie side by side.
_COLUMNS = 3
_TILE = 128


@dataclass(frozen=True)
class ValidationScores:
    """Means over the validation pairs; lower is better."""

    perceptual: float
    latent: float


class EncoderValidator:
    """Validation of encoders.

    Args:
        task: What the encoders see.
        batches: The validation pairs.
        count: How many there are; the first 256 are looked at.
        chunk: How many are computed at once.
        decoder: Frozen.
        criterion: Where the distances come from.
    """

    def __init__(
        self,
        task: str,
        batches: Batches,
        count: int,
        chunk: int,
        decoder: Generator,
        criterion: Criterion,
    ) -> None:
        self._task = task
        self._batches = batches
        self._places = list(range(min(count, MOST_PAIRS)))
        self._chunk = chunk
        self._decoder = decoder
        self._criterion = criterion

    @torch.inference_mode()
    def scores(self, encoder: nn.Module) -> ValidationScores:
        """Distances of an encoder in evaluation mode."""
        perceptual, latent, count = 0.0, 0.0, len(self._places)
        for start in range(0, count, self._chunk):
            places = self._places[start : start + self._chunk]
            batch = self._batches.plain(places)
            w_plus = encoder(batch.x) + self._decoder.latent_avg
            seen = self._criterion.image_terms(self._decoder.synthesis(w_plus), batch.faces)
            known = self._criterion.latent_terms(w_plus, batch.w)
            perceptual += float(seen["perceptual"]) * len(places) / count
            latent += float(known["latent"]) * len(places) / count
        return ValidationScores(perceptual, latent)

    @torch.inference_mode()
    def sheet(self, encoder: nn.Module) -> Image.Image:
        """Condition, true face and translation of some pairs."""
        batch = self._batches.plain(self._places[:_SHOWN])
        translated = self._decoder.synthesis(encoder(batch.x) + self._decoder.latent_avg)
        columns = (self._shown_conditions(batch), _shown(batch.faces), _shown(translated))
        tiles = [tile for row in zip(*columns, strict=True) for tile in row]
        return contact_sheet(tiles, 3 * _COLUMNS)

    def _shown_conditions(
        self, batch: PairBatch
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        if self._task == SKETCH:
            return _shown(batch.x.expand(-1, 3, -1, -1) * 2 - 1)
        if self._task == SEGMENTATION:
            colours = torch.tensor(PALETTE)[batch.x.argmax(1).cpu()]
            return _shown(colours.movedim(-1, 1) / 127.5 - 1, "nearest")
        return _shown(batch.x)


def _shown(images: Tensor, mode: str = "area") -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """[N, 3, S, S] in [-1, 1] -> uint8 [N, 128, 128, 3]."""
    if images.shape[-1] < _TILE and mode == "area":
        mode = "bicubic"
    return to_uint8(F.interpolate(images.cpu(), (_TILE, _TILE), mode=mode)).numpy()
