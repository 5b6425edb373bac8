"""What a build asks of the generator and of the quality service, and what it insists on in their answers."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from faceloom.builds.candidate import Candidate
from faceloom.builds.raw_images import RGB, pixels_of
from faceloom.builds.stages import StageCall, images
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import model_pb2
from faceloom.core.errors import FailedPrecondition, Internal
from faceloom.datasets.filter import By
from faceloom.datasets.recipe import ModelIdentity, Platform, Recipe
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.service import service

Answer = TypeVar("Answer")


class Calls:
    """The calls of a build. Every answer must come from the models of the recipe, or the build stops."""

    def __init__(self, recipe: Recipe, faceloom: Faceloom) -> None:
        self._recipe = recipe
        self._faceloom = faceloom

    async def generate(self, candidates: Sequence[Candidate]) -> None:
        """Adds the picture and its latents."""
        response = await self._faceloom.generate(
            generator_pb2.GenerateRequest(
                seeds=[candidate.seed for candidate in candidates],
                truncation_psi=self._recipe.source.truncation_psi,
                output_format=RGB,
                return_latents=True,
                model_version=self._recipe.models["generator"].reference,
            ),
            timeout=service("generator").max_seconds,
        )
        self._check_model("generator", response.model, candidates)
        for candidate, face in _pairs("generator", candidates, response.faces):
            if face.seed != candidate.seed:
                raise Internal(f"the generator answered seed {face.seed} for {candidate.seed}")
            pixels_of(face.image, RGB)
            candidate.image = face.image
            candidate.z = np.array(face.z, np.float32)
            candidate.w = np.array(face.w, np.float32)

    async def classify(self, candidates: Sequence[Candidate]) -> None:
        """Adds the score."""
        response = await self._faceloom.classify(
            quality_pb2.ClassifyRequest(
                images=images(candidates), model_version=self._recipe.models["quality"].reference
            ),
            timeout=service("quality").max_seconds,
        )
        self._check_model("quality", response.model, candidates)
        decision = self._recipe.filter
        if decision.by is By.MODEL and response.threshold != decision.threshold:
            raise FailedPrecondition(
                f"the quality threshold changed from {decision.threshold} to {response.threshold} during"
                " the build",
                reason="MODEL_CHANGED",
            )
        for candidate, quality in _pairs("quality", candidates, response.qualities):
            if quality.accepted != (quality.score >= response.threshold):
                raise Internal(
                    f"the quality service answered {quality.accepted} for a score of {quality.score} and its"
                    f" threshold of {response.threshold}"
                )
            candidate.score = quality.score

    async def stage(self, call: StageCall, candidates: Sequence[Candidate]) -> None:
        """Adds what a stage makes of each."""
        name = call.stage.service
        response: Any = await self._faceloom.call(
            name,
            call.request(candidates, self._recipe.models[name].reference),
            timeout=service(name).max_seconds,
        )
        self._check_model(name, response.model, candidates)
        for candidate, values in _pairs(name, candidates, call.answers(response)):
            candidate.add(call.stage, values)

    def _check_model(
        self, name: str, info: model_pb2.ModelInfo, candidates: Sequence[Candidate]
    ) -> None:
        expected, answered = self._recipe.models[name], ModelIdentity.of(info)
        if answered != expected:
            raise FailedPrecondition(
                f"the {name} model changed during the build: it began with {expected}"
                f" and now gets answers from {answered}",
                reason="MODEL_CHANGED",
            )
        for candidate in candidates:
            candidate.platforms.add(Platform.of(name, info))


def _pairs(
    name: str, candidates: Sequence[Candidate], answers: Iterable[Answer]
) -> list[tuple[Candidate, Answer]]:
    listed = list(answers)
    if len(listed) != len(candidates):
        raise Internal(f"the {name} service answered {len(listed)} of {len(candidates)} items")
    return list(zip(candidates, listed, strict=True))
