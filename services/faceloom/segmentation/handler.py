"""Pictures to label maps in CelebAMask-HQ's order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Floats, Pixels
from faceloom.core.images import check_output, decode_pictures, encode, fit_condition
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.layouts.labels import CELEBA_TO_BISENET, encode_png
from faceloom.runtime.handler import Handler, Work
from faceloom.segmentation.class_order import BISENET, check_classes
from faceloom.segmentation.focus import look_twice
from faceloom.segmentation.network import IMAGENET_MEAN, IMAGENET_STD, BiSeNet
from faceloom.segmentation.v1 import segmentation_pb2 as pb
from faceloom.store.model import UPSTREAM, open_model
from faceloom.store.torch_model import load_weights, processor, ready_network

_OUTPUTS = (image_pb2.IMAGE_FORMAT_LABELS8, image_pb2.IMAGE_FORMAT_PNG)


@dataclass(frozen=True)
class SegmentationInput:
    """What the network sees, uint8 [h, w, 3], and the height and width of the layout."""

    pixels: Pixels
    size: tuple[int, int]


class SegmentationHandler(Handler[pb.SegmentRequest, SegmentationInput, Pixels]):
    """Serves a face-parsing BiSeNet."""

    request_type = pb.SegmentRequest

    def load(self, folder: Path, device: str) -> None:
        model = open_model(folder)
        check_classes(model, {})
        self.service = model.limited(self.service)
        self._options = model.options
        self._upstream = model.preprocessing == UPSTREAM
        self._network = ready_network(BiSeNet, model.network, load_weights(model), device)
        self._mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)
        self._device = device
        self.model = model.info(device, processor(device))

    def sample_request(self) -> pb.SegmentRequest:
        grey = np.full((64, 64), 128, np.uint8)
        return pb.SegmentRequest(images=[encode(grey, image_pb2.IMAGE_FORMAT_GRAY8)])

    def decode(self, request: pb.SegmentRequest) -> Work[SegmentationInput]:
        self.check_version(request.model_version)
        self.check_count("images", len(request.images))
        output = check_output(request.output_format, image_pb2.IMAGE_FORMAT_LABELS8, _OUTPUTS)
        pictures = [self._picture(pixels) for pixels in decode_pictures(request.images, "images")]
        if output == image_pb2.IMAGE_FORMAT_LABELS8:
            self.check_answer(
                "images", sum(height * width for height, width in (each.size for each in pictures))
            )
        return Work(pictures)

    @torch.inference_mode()
    def predict(self, key: object, samples: Sequence[SegmentationInput]) -> Sequence[Pixels]:
        return [self._label(sample) for sample in samples]

    @torch.inference_mode()
    def outputs(self, key: object, samples: Sequence[SegmentationInput]) -> Sequence[Floats]:
        """The scores of each picture brought to the network's size, [19, side, side], in the network's own
        order of classes; small faces get no second look."""
        images = (self._tensor(sample.pixels) for sample in samples)
        return [self._network_scores(image)[0].cpu().numpy() for image in images]

    def encode(self, request: pb.SegmentRequest, outputs: Sequence[Pixels]) -> pb.SegmentResponse:
        return pb.SegmentResponse(
            layouts=[_image(layout, request.output_format) for layout in outputs],
            class_names=CLASS_NAMES,
            model=self.model,
        )

    def _picture(self, pixels: Pixels) -> SegmentationInput:
        """Upstream's scripts bring every picture to the network's square, whatever its shape."""
        fitted = fit_condition(pixels)
        height, width = fitted.shape[:2]
        if self._upstream:
            side = self._options["side"]
            square = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
            fitted = np.asarray(square)
        return SegmentationInput(fitted, (height, width))

    def _label(self, picture: SegmentationInput) -> Pixels:
        """A picture's ids, [H, W]. A small face in a large picture is looked at twice, not by upstream."""
        image = self._tensor(picture.pixels)
        scores = (
            self._scores(image, picture.size)
            if self._upstream
            else look_twice(lambda part: self._scores(part, part.shape[2:]), image)
        )
        return scores[0].argmax(0).to(torch.uint8).cpu().numpy()

    def _tensor(self, pixels: Pixels) -> Tensor:
        """[H, W, 3] -> [1, 3, H, W] in [0, 1]."""
        return torch.tensor(pixels, device=self._device).permute(2, 0, 1)[None].float() / 255

    def _scores(self, image: Tensor, size: Sequence[int]) -> Tensor:
        """[1, 3, h, w] in [0, 1] -> class scores [1, 19, H, W] of that size, in CelebAMask-HQ's order.

        The network works at its own size; its scores, not its labels, are brought back, so that edges
        stay smooth.
        """
        scores = self._network_scores(image)
        if self._options["order"] == BISENET:
            scores = scores[:, CELEBA_TO_BISENET.tolist()]
        return F.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)

    def _network_scores(self, image: Tensor) -> Tensor:
        """[1, 3, H, W] in [0, 1] -> class scores [1, 19, side, side], in the network's own order."""
        side = self._options["side"]
        x = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
        scores: Tensor = self._network((x - self._mean) / self._std)
        return scores


def _image(layout: Pixels, output_format: int) -> image_pb2.Image:
    if output_format == image_pb2.IMAGE_FORMAT_PNG:
        height, width = layout.shape
        return image_pb2.Image(
            format=image_pb2.IMAGE_FORMAT_PNG, width=width, height=height, data=encode_png(layout)
        )
    return encode(layout, image_pb2.IMAGE_FORMAT_LABELS8)
