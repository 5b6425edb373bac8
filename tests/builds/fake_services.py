"""Model services without models: pictures, scores, drawings and labels follow from the request."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import Message

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2, model_pb2
from faceloom.core.errors import ServiceError
from faceloom.generator.v1 import generator_pb2
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.quality.v1 import quality_pb2
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

SIZE = 8


@dataclass
class FakeServices:
    """A `Caller`.

    Args:
        threshold: The score from which a face is accepted; scores are spread evenly over 0 to 1.
        shuffle: Answers come in the order that this gives.
        fault: Called before every answer with the service and the seeds in the request; may raise.
        version: The version of every model.
        processor: What all of them run on.
        gate: Awaited before every answer with the service and how often it was called.
    """

    threshold: float = 0.5
    shuffle: random.Random | None = None
    fault: Callable[[str, set[int]], None] | None = None
    version: str = "1"
    processor: str = "AVX2"
    gate: Callable[[str, int], Awaitable[None]] | None = None
    calls: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    most_in_flight: Counter[str] = field(default_factory=Counter)

    def client(self) -> Faceloom:
        return Faceloom(self)

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        self.calls[service] += 1
        self.in_flight[service] += 1
        self.most_in_flight[service] = max(self.most_in_flight[service], self.in_flight[service])
        try:
            if self.gate:
                await self.gate(service, self.calls[service])
            for _ in range(self.shuffle.randrange(8) if self.shuffle else 1):
                await asyncio.sleep(0)
            answer = getattr(self, f"_{service}")(request)
            return answer.SerializeToString()
        finally:
            self.in_flight[service] -= 1

    async def close(self) -> None:
        pass

    def _generator(self, data: bytes) -> Message:
        request = generator_pb2.GenerateRequest.FromString(data)
        self._meet_faults("generator", set(request.seeds))
        faces = []
        for seed in request.seeds:
            values = np.random.default_rng(seed)
            picture = values.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
            # The seed is in the picture, so the other services can be told to fail on it.
            picture.reshape(-1)[:8] = np.frombuffer(seed.to_bytes(8, "big"), np.uint8)
            z = values.standard_normal(4)
            faces.append(
                generator_pb2.Face(
                    seed=seed,
                    image=image_pb2.Image(
                        format=image_pb2.IMAGE_FORMAT_RGB8,
                        width=SIZE,
                        height=SIZE,
                        data=picture.tobytes(),
                    ),
                    z=z,
                    w=[*(z * request.truncation_psi), 1.0],
                )
            )
        return generator_pb2.GenerateResponse(faces=faces, model=self._model("generator"))

    def _quality(self, data: bytes) -> Message:
        request = quality_pb2.ClassifyRequest.FromString(data)
        self._meet_faults("quality", _seeds(request.images))
        scores = [score_of(image.data) for image in request.images]
        return quality_pb2.ClassifyResponse(
            qualities=[
                quality_pb2.Quality(score=score, accepted=score >= self.threshold)
                for score in scores
            ],
            threshold=self.threshold,
            model=self._model("quality"),
        )

    def _sketch(self, data: bytes) -> Message:
        request = sketch_pb2.SketchRequest.FromString(data)
        self._meet_faults("sketch", _seeds(request.images))
        classical = request.style == sketch_pb2.SKETCH_STYLE_CLASSICAL
        sketches = [
            image_pb2.Image(
                format=image_pb2.IMAGE_FORMAT_GRAY8,
                width=SIZE,
                height=SIZE,
                data=(_pixels(image).max(axis=2) ^ (255 * classical)).astype(np.uint8).tobytes(),
            )
            for image in request.images
        ]
        return sketch_pb2.SketchResponse(sketches=sketches, model=self._model("sketch"))

    def _segmentation(self, data: bytes) -> Message:
        request = segmentation_pb2.SegmentRequest.FromString(data)
        self._meet_faults("segmentation", _seeds(request.images))
        layouts = [
            image_pb2.Image(
                format=image_pb2.IMAGE_FORMAT_LABELS8,
                width=SIZE,
                height=SIZE,
                data=(_pixels(image)[..., 0] % len(CLASS_NAMES)).tobytes(),
            )
            for image in request.images
        ]
        return segmentation_pb2.SegmentResponse(
            layouts=layouts, class_names=CLASS_NAMES, model=self._model("segmentation")
        )

    def _meet_faults(self, service: str, seeds: set[int]) -> None:
        if self.fault:
            self.fault(service, seeds)

    def _model(self, service: str) -> model_pb2.ModelInfo:
        return model_pb2.ModelInfo(
            name="fake",
            version=self.version,
            digest=hashlib.sha256(service.encode()).hexdigest(),
            license="MIT",
            device="cpu",
            processor=self.processor,
        )


def times(count: int, name: str, error: ServiceError) -> Callable[[str, set[int]], None]:
    """A service that fails so often, and then no more."""
    left = [error] * count

    def fault(service: str, seeds: set[int]) -> None:
        if service == name and left:
            raise left.pop()

    return fault


def poison(service: str, seeds: set[int], error: ServiceError) -> Callable[[str, set[int]], None]:
    """A fault: that service fails every request that has one of the seeds in it."""

    def fault(called: str, asked: set[int]) -> None:
        if called == service and asked & seeds:
            raise error

    return fault


def score_of(data: bytes) -> float:
    return int(hashlib.sha256(data).hexdigest(), 16) % 1_000_000 / 1_000_000


def _seeds(images: list[image_pb2.Image]) -> set[int]:
    return {int.from_bytes(image.data[:8], "big") for image in images}


def _pixels(image: image_pb2.Image) -> np.ndarray:
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
