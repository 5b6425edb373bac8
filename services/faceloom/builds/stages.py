"""The stages of a build: what can be made of every accepted face. One row of a table says all of a stage.

Columns of metadata.jsonl, files, card, report, capacity, metrics and progress of a dataset follow from it.
`docs/extending.md` adds one, step by step.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from faceloom.builds.candidate import Candidate
from faceloom.builds.raw_images import GREY, LABELS, pixels_of
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import FailedPrecondition, Internal, InvalidArgument
from faceloom.datasets.stage import SEGMENTATION, SKETCH, Kind, Stage
from faceloom.layouts.classes import CLASS_NAMES
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

NONE: Final = "none"
# Who makes and judges faces, before any stage.
FACE_SERVICES: Final = ("generator", "quality")


def _no_classes(response: Any) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class StageCall:
    """A row: a stage, what it asks of its service, and what it takes from the answer.

    Args:
        stage: Its name, its service, and what comes of it.
        contents: What is in the files, for the dataset's card: a line per output.
        request: Makes the request of candidates and of the model that must answer, `name/version`. A stage
            that needs more than `image` finds it in `made`.
        answers: A value per output, for every candidate of the request in its order.
        needs: Which kinds of other stages, by folder, the request is made of.
        class_names: What the values of its layouts mean, from a response.
    """

    stage: Stage
    contents: tuple[str, ...]
    request: Callable[[Sequence[Candidate], str], Message]
    answers: Callable[[Any], Iterable[Sequence[Any]]]
    needs: tuple[str, ...] = ()
    class_names: Callable[[Any], Sequence[str]] = _no_classes


def stage_calls(names: Iterable[str]) -> tuple[StageCall, ...]:
    """The rows of those stages.

    Raises:
        InvalidArgument: There is no such stage, it is named twice, or one that it needs is missing.
    """
    named = tuple(names)
    for name in named:
        if name not in STAGES:
            known = ", ".join(STAGES)
            raise InvalidArgument(f"no stage {name!r}; there are {known}", field="spec.stages")
        if named.count(name) > 1:
            raise InvalidArgument(f"the stage {name} is named twice", field="spec.stages")
    calls = tuple(STAGES[name] for name in named)
    made: set[str] = set()
    for call in calls:
        if missing := set(call.needs) - made:
            raise InvalidArgument(
                f"the stage {call.stage.name} needs {', '.join(sorted(missing))}: name the stage that makes"
                " them before it",
                field="spec.stages",
            )
        made |= {kind.folder for kind in call.stage.outputs}
    return calls


def stage_names(asked: Sequence[str]) -> tuple[str, ...]:
    """The stages that are asked for, where `none` alone says that there are none."""
    named = tuple(name.strip() for name in asked)
    return () if named == (NONE,) else named


def services_of(names: Iterable[str]) -> tuple[str, ...]:
    """The services that a build with those stages calls, in their order, each once."""
    return tuple(
        dict.fromkeys((*FACE_SERVICES, *(call.stage.service for call in stage_calls(names))))
    )


def _sketch(
    style: sketch_pb2.SketchStyle.ValueType,
) -> Callable[[Sequence[Candidate], str], Message]:
    def request(candidates: Sequence[Candidate], model: str) -> Message:
        return sketch_pb2.SketchRequest(
            images=images(candidates), style=style, output_format=GREY, model_version=model
        )

    return request


def _sketches(response: sketch_pb2.SketchResponse) -> Iterable[Sequence[Any]]:
    return ((pixels_of(sketch, GREY),) for sketch in response.sketches)


def _segment(candidates: Sequence[Candidate], model: str) -> Message:
    return segmentation_pb2.SegmentRequest(
        images=images(candidates), output_format=LABELS, model_version=model
    )


def _layouts(response: segmentation_pb2.SegmentResponse) -> Iterable[Sequence[Any]]:
    for layout in response.layouts:
        pixels = pixels_of(layout, LABELS)
        if int(pixels.max()) >= len(CLASS_NAMES):
            raise Internal(f"the segmentation service answered class {int(pixels.max())}")
        yield (pixels,)


def _layout_classes(response: segmentation_pb2.SegmentResponse) -> Sequence[str]:
    if tuple(response.class_names) != CLASS_NAMES:
        raise FailedPrecondition(
            "the segmentation service names other classes than CelebAMask-HQ's 19, in its order",
            reason="UNKNOWN_CLASSES",
        )
    return response.class_names


def images(candidates: Sequence[Candidate]) -> list[image_pb2.Image]:
    """The faces of candidates, as requests carry them."""
    return [candidate.image for candidate in candidates if candidate.image is not None]


_CLASSICAL: Final = Stage(
    "sketch:classical",
    "sketch",
    (Kind("classical_sketches", "classical_sketch", ".png", "grey"),),
)

STAGES: Final[dict[str, StageCall]] = {
    call.stage.name: call
    for call in (
        StageCall(
            SKETCH,
            ("8-bit grey PNG, dark lines on white",),
            _sketch(sketch_pb2.SKETCH_STYLE_UNSPECIFIED),
            _sketches,
        ),
        StageCall(
            SEGMENTATION,
            ("8-bit palette PNG; the pixel values are the class ids below",),
            _segment,
            _layouts,
            class_names=_layout_classes,
        ),
        StageCall(
            _CLASSICAL,
            ("8-bit grey PNG, lines without a network: XDoG of the face",),
            _sketch(sketch_pb2.SKETCH_STYLE_CLASSICAL),
            _sketches,
        ),
    )
}
