"""Asks every service for one small thing, to learn which models a build would be made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from faceloom.builds.candidate import Candidate
from faceloom.builds.retrying import PatientService, Refused
from faceloom.builds.stages import StageCall, images, stage_calls
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import ServiceError
from faceloom.datasets.filter import By, Filter
from faceloom.datasets.identity import FaceSource
from faceloom.datasets.recipe import ModelIdentity, Recipe
from faceloom.datasets.spec import BuildSpec
from faceloom.generator.v1 import generator_pb2
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.service import MAX_MESSAGE_BYTES

# A single face that cannot be made must not keep the others from being made.
ATTEMPTS = 4
# Requests are kept this far under the limit, for what is not pixels.
_FILL = 0.8


@dataclass(frozen=True)
class Probe:
    """What the services told about themselves.

    Args:
        recipe: The recipe that they and the spec make.
        items_per_message: How many pictures fit into one message.
    """

    recipe: Recipe
    items_per_message: int


async def probe(
    spec: BuildSpec,
    faceloom: Faceloom,
    services: Mapping[str, PatientService],
    quality: str = "",
) -> Probe:
    """Learns the recipe of a build.

    Args:
        spec: What is asked for.
        faceloom: The services.
        services: How each of them is called.
        quality: The quality model that is to judge, `name/version`; the one that is served when not given.

    Raises:
        ServiceError: A service does not answer, or refuses all of the first candidates.
    """
    for ordinal in range(ATTEMPTS):
        try:
            return await _probe(spec, faceloom, services, quality, (spec.seed << 32) + ordinal)
        except Refused as refused:
            error: ServiceError = refused.error
    raise error


async def _probe(
    spec: BuildSpec,
    faceloom: Faceloom,
    services: Mapping[str, PatientService],
    quality: str,
    seed: int,
) -> Probe:
    generated = await services["generator"].call(
        lambda: faceloom.generate(
            generator_pb2.GenerateRequest(
                seeds=[seed],
                truncation_psi=spec.truncation_psi,
                output_format=image_pb2.IMAGE_FORMAT_RGB8,
                return_latents=True,
            )
        )
    )
    face = Candidate(0, seed, "", generated.faces[0].image)
    classified = await services["quality"].call(
        lambda: faceloom.classify(
            quality_pb2.ClassifyRequest(images=images([face]), model_version=quality)
        )
    )
    answers: dict[str, Any] = {"generator": generated, "quality": classified}
    largest = generated.ByteSize()
    class_names: tuple[str, ...] = ()
    calls = stage_calls(spec.stages)
    for call in calls:
        name = call.stage.service
        answer = await services[name].call(partial(_ask, faceloom, call, face))
        class_names += tuple(call.class_names(answer))
        largest = max(largest, answer.ByteSize())
        answers[name] = answer
    recipe = Recipe(
        spec=spec,
        source=FaceSource(generated.model.digest, spec.truncation_psi),
        models={name: ModelIdentity.of(answer.model) for name, answer in answers.items()},
        filter=_filter(spec, classified.threshold),
        stages=tuple(call.stage for call in calls),
        class_names=class_names,
    )
    return Probe(recipe, max(1, int(MAX_MESSAGE_BYTES * _FILL) // largest))


async def _ask(faceloom: Faceloom, call: StageCall, face: Candidate) -> Any:
    """The answer of a stage's service; what is wrong in it is met as it will be met in the build."""
    answer = await faceloom.call(call.stage.service, call.request([face], ""))
    call.class_names(answer)
    for values in call.answers(answer):
        face.add(call.stage, values)
    return answer


def _filter(spec: BuildSpec, threshold: float) -> Filter:
    if spec.kept is not None:
        return Filter(By.PEOPLE, kept=spec.kept)
    if spec.top is not None:
        return Filter(By.TOP, top=spec.top)
    if spec.threshold is not None:
        return Filter(By.THRESHOLD, threshold=spec.threshold)
    return Filter(By.MODEL, threshold=threshold)
