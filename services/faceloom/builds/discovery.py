"""Asks every service for one small thing, to learn which models a build would be made with."""

from collections.abc import Mapping
from dataclasses import dataclass

from faceloom.builds.retrying import PatientService, Refused
from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import FailedPrecondition, ServiceError
from faceloom.datasets.identity import FaceSource
from faceloom.datasets.recipe import Model, Recipe
from faceloom.datasets.spec import BuildSpec
from faceloom.generator.v1 import generator_pb2
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.quality.v1 import quality_pb2
from faceloom.runtime.service import MAX_MESSAGE_BYTES
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

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
    spec: BuildSpec, faceloom: Faceloom, services: Mapping[str, PatientService]
) -> Probe:
    """Learns the recipe of a build.

    Raises:
        ServiceError: A service does not answer, or refuses all of the first candidates.
    """
    for ordinal in range(ATTEMPTS):
        try:
            return await _probe(spec, faceloom, services, (spec.seed << 32) + ordinal)
        except Refused as refused:
            error: ServiceError = refused.error
    raise error


async def _probe(
    spec: BuildSpec, faceloom: Faceloom, services: Mapping[str, PatientService], seed: int
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
    images = [face.image for face in generated.faces]
    classified = await services["quality"].call(
        lambda: faceloom.classify(quality_pb2.ClassifyRequest(images=images))
    )
    drawn = await services["sketch"].call(
        lambda: faceloom.sketch(
            sketch_pb2.SketchRequest(images=images, output_format=image_pb2.IMAGE_FORMAT_GRAY8)
        )
    )
    labelled = await services["segmentation"].call(
        lambda: faceloom.segment(
            segmentation_pb2.SegmentRequest(
                images=images, output_format=image_pb2.IMAGE_FORMAT_LABELS8
            )
        )
    )
    if tuple(labelled.class_names) != CLASS_NAMES:
        raise FailedPrecondition(
            "the segmentation service names other classes than CelebAMask-HQ's 19, in its order",
            reason="UNKNOWN_CLASSES",
        )
    recipe = Recipe(
        spec=spec,
        source=FaceSource(generated.model.digest, spec.truncation_psi),
        models={
            "generator": Model.of(generated.model),
            "quality": Model.of(classified.model),
            "sketch": Model.of(drawn.model),
            "segmentation": Model.of(labelled.model),
        },
        threshold=classified.threshold,
        class_names=tuple(labelled.class_names),
    )
    largest = max(generated.ByteSize(), drawn.ByteSize(), labelled.ByteSize())
    return Probe(recipe, max(1, int(MAX_MESSAGE_BYTES * _FILL) // largest))
