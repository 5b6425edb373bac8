"""Answers that no message holds are refused before the network looks at a picture."""

from collections.abc import Callable

import numpy as np
import pytest
from google.protobuf.message import Message

from faceloom.common.v1 import image_pb2
from faceloom.core.errors import TOO_MANY_ITEMS, InvalidArgument
from faceloom.core.images import encode
from faceloom.runtime.handler import AnyHandler
from faceloom.segmentation.v1 import segmentation_pb2
from faceloom.sketch.v1 import sketch_pb2

RAW = {
    "sketch": image_pb2.IMAGE_FORMAT_GRAY8,
    "segmentation": image_pb2.IMAGE_FORMAT_LABELS8,
}


def request(name: str, count: int, output: int) -> Message:
    """Pictures of 512 pixels, white, which are small as PNG; four answers are 1 MiB if they are raw."""
    white = encode(np.full((512, 512), 255, np.uint8), image_pb2.IMAGE_FORMAT_PNG)
    kind = segmentation_pb2.SegmentRequest if name == "segmentation" else sketch_pb2.SketchRequest
    return kind(images=[white] * count, output_format=output)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RAW)
def test_raw_answers_over_the_limit_are_refused_when_the_request_is_read(
    name: str, handler_of: Callable[[str], AnyHandler]
) -> None:
    handler = handler_of(name)

    for output in (RAW[name], image_pb2.IMAGE_FORMAT_UNSPECIFIED):
        with pytest.raises(
            InvalidArgument, match="send fewer images or ask for a compressed"
        ) as told:
            handler.decode(request(name, 64, output))
        assert (told.value.reason, told.value.field) == (TOO_MANY_ITEMS, "images")

    assert len(handler.decode(request(name, 60, RAW[name])).samples) == 60
    assert len(handler.decode(request(name, 64, image_pb2.IMAGE_FORMAT_PNG)).samples) == 64
