"""What is asked of a build, between the API and the code."""

from typing import Any, Final

from faceloom.builds.stages import NONE, stage_calls, stage_names
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb

_OPTIONAL: Final = ("truncation_psi", "threshold", "top")


def spec_of(message: pb.BuildSpec) -> BuildSpec:
    """What a message asks for.

    Raises:
        InvalidArgument: Names the field that is out of its range.
    """
    size = message.WhichOneof("size")
    given: dict[str, Any] = {
        field: getattr(message, field) for field in _OPTIONAL if message.HasField(field)
    }
    if message.stages:
        given["stages"] = stage_names(message.stages)
        stage_calls(given["stages"])
    return BuildSpec(
        candidates=message.candidates if size == "candidates" else None,
        accepted=message.accepted if size == "accepted" else None,
        seed=message.seed,
        **given,
    )


def spec_to_proto(spec: BuildSpec) -> pb.BuildSpec:
    """The message that asks for it."""
    message = pb.BuildSpec(
        seed=spec.seed,
        truncation_psi=spec.truncation_psi,
        stages=spec.stages or (NONE,),
        threshold=spec.threshold,
        top=spec.top,
    )
    if spec.candidates is not None:
        message.candidates = spec.candidates
    else:
        message.accepted = spec.target
    return message
