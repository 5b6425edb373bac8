"""Faces to the probability that a person keeps them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Floats, Pixels
from faceloom.core.images import decode_pictures, encode
from faceloom.quality.network import IMAGENET_MEAN, IMAGENET_STD, MixNetS
from faceloom.quality.preprocess import Fit
from faceloom.quality.v1 import quality_pb2 as pb
from faceloom.runtime.handler import Handler, Work
from faceloom.store.model import open_model
from faceloom.store.torch_model import load_weights, processor, ready_network


class QualityHandler(Handler[pb.ClassifyRequest, Pixels, float]):
    """Serves a MixNet-S, one of whose classes is to be kept."""

    request_type = pb.ClassifyRequest

    def load(self, folder: Path, device: str) -> None:
        model = open_model(folder)
        self.service = model.limited(self.service)
        self._network = ready_network(MixNetS, model.network, load_weights(model), device)
        options = model.options
        self._fit = Fit.of(options)
        self._threshold: float = options["threshold"]
        self._keep: int = options["keep_index"]
        self._mean, self._std = (
            torch.tensor(options.get(name, default), device=device).view(1, 3, 1, 1)
            for name, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD))
        )
        self._device = device
        self.model = model.info(device, processor(device))

    def sample_request(self) -> pb.ClassifyRequest:
        side = self._fit.side
        grey = np.full((side, side, 3), 128, np.uint8)
        return pb.ClassifyRequest(images=[encode(grey, image_pb2.IMAGE_FORMAT_RGB8)])

    def decode(self, request: pb.ClassifyRequest) -> Work[Pixels]:
        self.check_version(request.model_version)
        self.check_count("images", len(request.images))
        return Work([self._fit(picture) for picture in decode_pictures(request.images, "images")])

    @torch.inference_mode()
    def predict(self, key: object, samples: Sequence[Pixels]) -> Sequence[float]:
        return self._logits(samples).softmax(1)[:, self._keep].tolist()

    @torch.inference_mode()
    def outputs(self, key: object, samples: Sequence[Pixels]) -> Sequence[Floats]:
        """The logits, [classes] for each picture."""
        return list(self._logits(samples).cpu().numpy())

    def encode(self, request: pb.ClassifyRequest, outputs: Sequence[float]) -> pb.ClassifyResponse:
        scores = [round(score, 6) for score in outputs]
        return pb.ClassifyResponse(
            qualities=[
                pb.Quality(score=score, accepted=score >= self._threshold) for score in scores
            ],
            threshold=self._threshold,
            model=self.model,
        )

    def _logits(self, samples: Sequence[Pixels]) -> Tensor:
        """N pictures [side, side, 3] -> [N, classes]."""
        pixels = torch.from_numpy(np.stack(samples)).to(self._device)
        x = pixels.permute(0, 3, 1, 2).float() / 255
        logits: Tensor = self._network((x - self._mean) / self._std)
        return logits
