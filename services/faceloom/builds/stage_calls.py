"""What a build asks of each service, and what it insists on in the answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2, model_pb2
from faceloom.core.errors import FailedPrecondition, Internal
from faceloom.datasets.png import Pixels
from faceloom.datasets.recipe import Model, Platform, Recipe
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.service import service
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

_CHANNELS = {
    image_pb2.IMAGE_FORMAT_RGB8: 3,
    image_pb2.IMAGE_FORMAT_GRAY8: 1,
    image_pb2.IMAGE_FORMAT_LABELS8: 1,
}

Answer = TypeVar("Answer")


@dataclass
class Candidate:
    """A face on its way: each service adds its part."""

    ordinal: int
    seed: int
    id: str
    image: image_pb2.Image | None = None
    z: NDArray[np.float32] | None = None
    w: NDArray[np.float32] | None = None
    score: float = 0.0
    accepted: bool = False
    sketch: Pixels | None = None
    layout: Pixels | None = None
    platforms: set[Platform] = field(default_factory=set)


class Requests:
    """The four calls. Every answer must come from the models of the recipe, or the build stops."""

    def __init__(self, recipe: Recipe, faceloom: Faceloom) -> None:
        self._recipe = recipe
        self._faceloom = faceloom

    async def generate(self, candidates: Sequence[Candidate]) -> None:
        """Adds the picture and its latents."""
        response = await self._faceloom.generate(
            generator_pb2.GenerateRequest(
                seeds=[candidate.seed for candidate in candidates],
                truncation_psi=self._recipe.source.truncation_psi,
                output_format=image_pb2.IMAGE_FORMAT_RGB8,
                return_latents=True,
                model_version=self._recipe.models["generator"].reference,
            ),
            timeout=service("generator").max_seconds,
        )
        self._check_model("generator", response.model, candidates)
        for candidate, face in _pairs("generator", candidates, response.faces):
            if face.seed != candidate.seed:
                raise Internal(f"the generator answered seed {face.seed} for {candidate.seed}")
            pixels_of(face.image, image_pb2.IMAGE_FORMAT_RGB8)
            candidate.image = face.image
            candidate.z = np.array(face.z, np.float32)
            candidate.w = np.array(face.w, np.float32)

    async def classify(self, candidates: Sequence[Candidate]) -> None:
        """Adds the score and the verdict."""
        response = await self._faceloom.classify(
            quality_pb2.ClassifyRequest(
                images=_images(candidates), model_version=self._recipe.models["quality"].reference
            ),
            timeout=service("quality").max_seconds,
        )
        self._check_model("quality", response.model, candidates)
        if response.threshold != self._recipe.threshold:
            raise FailedPrecondition(
                f"the quality threshold changed from {self._recipe.threshold} to"
                f" {response.threshold} during the build",
                reason="MODEL_CHANGED",
            )
        for candidate, quality in _pairs("quality", candidates, response.qualities):
            candidate.score = quality.score
            candidate.accepted = quality.accepted

    async def sketch(self, candidates: Sequence[Candidate]) -> None:
        """Adds the line drawing."""
        response = await self._faceloom.sketch(
            sketch_pb2.SketchRequest(
                images=_images(candidates),
                output_format=image_pb2.IMAGE_FORMAT_GRAY8,
                model_version=self._recipe.models["sketch"].reference,
            ),
            timeout=service("sketch").max_seconds,
        )
        self._check_model("sketch", response.model, candidates)
        for candidate, sketch in _pairs("sketch", candidates, response.sketches):
            candidate.sketch = pixels_of(sketch, image_pb2.IMAGE_FORMAT_GRAY8)

    async def segment(self, candidates: Sequence[Candidate]) -> None:
        """Adds the class map."""
        response = await self._faceloom.segment(
            segmentation_pb2.SegmentRequest(
                images=_images(candidates),
                output_format=image_pb2.IMAGE_FORMAT_LABELS8,
                model_version=self._recipe.models["segmentation"].reference,
            ),
            timeout=service("segmentation").max_seconds,
        )
        self._check_model("segmentation", response.model, candidates)
        for candidate, layout in _pairs("segmentation", candidates, response.layouts):
            pixels = pixels_of(layout, image_pb2.IMAGE_FORMAT_LABELS8)
            if int(pixels.max()) >= len(self._recipe.class_names):
                raise Internal(f"the segmentation service answered class {int(pixels.max())}")
            candidate.layout = pixels

    def _check_model(
        self, name: str, info: model_pb2.ModelInfo, candidates: Sequence[Candidate]
    ) -> None:
        expected, answered = self._recipe.models[name], Model.of(info)
        if answered != expected:
            raise FailedPrecondition(
                f"the {name} model changed during the build: it began with {expected}"
                f" and now gets answers from {answered}",
                reason="MODEL_CHANGED",
            )
        for candidate in candidates:
            candidate.platforms.add(Platform.of(name, info))


def pixels_of(image: image_pb2.Image, expected: int) -> Pixels:
    """The pixels of a raw image: [height, width, 3] or [height, width].

    Raises:
        Internal: The service answered something else than was asked for.
    """
    channels = _CHANNELS[image_pb2.ImageFormat.ValueType(expected)]
    if image.format != expected or len(image.data) != image.width * image.height * channels:
        raise Internal(
            f"a service answered {len(image.data)} bytes in format {image.format} for"
            f" {image.width}x{image.height} pixels in format {expected}"
        )
    shape = (image.height, image.width, channels) if channels > 1 else (image.height, image.width)
    return np.frombuffer(image.data, np.uint8).reshape(shape)


def _images(candidates: Sequence[Candidate]) -> list[image_pb2.Image]:
    return [candidate.image for candidate in candidates if candidate.image is not None]


def _pairs(
    name: str, candidates: Sequence[Candidate], answers: Iterable[Answer]
) -> list[tuple[Candidate, Answer]]:
    listed = list(answers)
    if len(listed) != len(candidates):
        raise Internal(f"the {name} service answered {len(listed)} of {len(candidates)} items")
    return list(zip(candidates, listed, strict=True))
