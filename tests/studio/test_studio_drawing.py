"""What is drawn reaches the translator as it was drawn."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.studio.conftest import Studio

from faceloom.common.v1 import image_pb2
from faceloom.segmentation.classes import CLASS_NAMES, PALETTE
from faceloom.translator.v1 import translator_pb2 as pb


async def translate(studio: Studio, pixels: bytes, **query: object) -> tuple[int, Any]:
    given = {key: str(one) for key, one in query.items()}
    async with studio.http.post("/api/translate", params=given, data=io.BytesIO(pixels)) as found:
        return found.status, await found.json()


def a_layout(studio: Studio) -> np.ndarray[Any, np.dtype[np.uint8]]:
    [file, *_] = sorted((studio.faces / "layouts").glob("*.png"))
    with Image.open(file) as layout:
        return np.asarray(layout)


async def test_a_layout_becomes_the_faces_of_a_direct_call(studio: Studio) -> None:
    layout = a_layout(studio)
    request = pb.TranslateRequest(
        layout=pb.Layout(
            image=image_pb2.Image(
                format=image_pb2.IMAGE_FORMAT_LABELS8,
                width=layout.shape[1],
                height=layout.shape[0],
                data=layout.tobytes(),
            ),
            order=pb.LABEL_ORDER_CELEBAMASK_HQ,
        ),
        variants=2,
        style_seed=2**64 - 1,
        alpha=0.5,
        output_format=image_pb2.IMAGE_FORMAT_PNG,
    )
    direct = await studio.faceloom.translate(request)

    status, found = await translate(
        studio, layout.tobytes(), task="segmentation", size=len(layout), variants=2,
        style_seed=2**64 - 1, alpha=0.5,
    )  # fmt: skip

    assert status == 200
    faces = [base64.b64decode(face) for face in found["faces"]]
    assert faces == [one.image.data for one in direct.translations]
    assert found["model"] == "tiny/1"


async def test_a_sketch_becomes_the_face_of_a_direct_call(studio: Studio) -> None:
    drawn = np.full((256, 256), 255, np.uint8)
    drawn[100:110, 60:200] = 0
    sketch = image_pb2.Image(
        format=image_pb2.IMAGE_FORMAT_GRAY8, width=256, height=256, data=drawn.tobytes()
    )
    request = pb.TranslateRequest(sketch=sketch, output_format=image_pb2.IMAGE_FORMAT_PNG)
    [direct] = (await studio.faceloom.translate(request)).translations

    status, found = await translate(studio, drawn.tobytes(), task="sketch", size=256)

    assert status == 200, found
    assert [base64.b64decode(face) for face in found["faces"]] == [direct.image.data]


@pytest.mark.parametrize(
    ("pixels", "query", "status", "message"),
    [
        (bytes(15), {"task": "sketch", "size": 16}, 400, "15 bytes are no drawing of 16 x 16"),
        (bytes(64), {"task": "sketch", "size": 8}, 400, "size: Input should be greater than"),
        (b"", {"task": "poem", "size": 16}, 400, "task: Input should be 'sketch' or 'segmen"),
        (b"", {"task": "sketch", "size": 16, "variants": 17}, 400, "variants: Input should be"),
        (b"", {"task": "sketch", "size": 16, "style_seed": 2**64}, 400, "style_seed: Input shou"),
        (bytes([19]) * 256, {"task": "segmentation", "size": 16}, 400, "pixel (0, 0)"),
        (bytes(2**21 + 1), {"task": "sketch", "size": 1024}, 413, "Request Entity Too Large"),
    ],
)
async def test_what_is_no_drawing(
    studio: Studio, pixels: bytes, query: dict[str, object], status: int, message: str
) -> None:
    answered, found = await translate(studio, pixels, **query)

    assert (answered, found["error"][: len(message)]) == (status, message)


async def test_classes_have_the_colours_of_layouts(studio: Studio) -> None:
    async with studio.http.get("/api/classes") as found:
        classes = (await found.json())["classes"]

    assert [one["name"] for one in classes] == list(CLASS_NAMES)
    assert [tuple(one["color"]) for one in classes] == list(PALETTE)
