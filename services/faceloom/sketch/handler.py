"""Pictures to line drawings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Floats, Pixels
from faceloom.core.errors import InvalidArgument
from faceloom.core.images import check_output, decode_pictures, encode, fit_condition
from faceloom.runtime.handler import Handler, Work
from faceloom.sketch import classical
from faceloom.sketch.extractors import new_extractor
from faceloom.sketch.v1 import sketch_pb2 as pb
from faceloom.store.model import open_model
from faceloom.store.torch_model import processor

_OUTPUTS = (
    image_pb2.IMAGE_FORMAT_GRAY8,
    image_pb2.IMAGE_FORMAT_PNG,
    image_pb2.IMAGE_FORMAT_JPEG,
    image_pb2.IMAGE_FORMAT_WEBP,
)


class SketchHandler(Handler[pb.SketchRequest, Pixels, Pixels]):
    """Serves a network that draws, and a classical extractor beside it."""

    request_type = pb.SketchRequest

    def load(self, folder: Path, device: str) -> None:
        model = open_model(folder)
        self.service = model.limited(self.service)
        self._extractor = new_extractor(model, device)
        self.model = model.info(device, processor(device))

    def sample_request(self) -> pb.SketchRequest:
        grey = np.full((64, 64), 128, np.uint8)
        return pb.SketchRequest(images=[encode(grey, image_pb2.IMAGE_FORMAT_GRAY8)])

    def decode(self, request: pb.SketchRequest) -> Work[Pixels]:
        self.check_version(request.model_version)
        self.check_count("images", len(request.images))
        output = check_output(request.output_format, image_pb2.IMAGE_FORMAT_GRAY8, _OUTPUTS)
        if request.style not in pb.SketchStyle.values():
            raise InvalidArgument(f"unknown style {request.style}", field="style")
        pictures = [fit_condition(picture) for picture in decode_pictures(request.images, "images")]
        if output == image_pb2.IMAGE_FORMAT_GRAY8:
            self.check_answer("images", sum(picture[..., 0].size for picture in pictures))
        return Work(pictures, request.style or pb.SKETCH_STYLE_LEARNED)

    @torch.inference_mode()
    def predict(self, key: object, samples: Sequence[Pixels]) -> Sequence[Pixels]:
        draw = classical.xdog if key == pb.SKETCH_STYLE_CLASSICAL else self._draw
        return [draw(sample) for sample in samples]

    @torch.inference_mode()
    def outputs(self, key: object, samples: Sequence[Pixels]) -> Sequence[Floats]:
        """The drawings, [H, W] each, in [0, 1], in which 1 is paper."""
        if key == pb.SKETCH_STYLE_CLASSICAL:
            return [classical.drawing(sample) for sample in samples]
        return [self._extractor.drawing(sample).cpu().numpy() for sample in samples]

    def encode(self, request: pb.SketchRequest, outputs: Sequence[Pixels]) -> pb.SketchResponse:
        output_format = request.output_format or image_pb2.IMAGE_FORMAT_GRAY8
        return pb.SketchResponse(
            sketches=[encode(drawing, output_format) for drawing in outputs], model=self.model
        )

    def _draw(self, pixels: Pixels) -> Pixels:
        """[H, W, 3] -> [H, W]. One picture at a time: pictures differ in size and fill a core alone."""
        drawing = self._extractor.drawing(pixels)
        return (drawing * 255).round().to(torch.uint8).cpu().numpy()
