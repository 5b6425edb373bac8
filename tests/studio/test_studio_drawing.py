"""What is drawn reaches the translator as it was drawn."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import samples
from tests.studio.conftest import Studio

from faceloom.common.v1 import image_pb2
from faceloom.layouts.classes import CLASS_NAMES, PALETTE
from faceloom.layouts.labels import colourise, encode_png
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


async def opened(studio: Studio, image: image_pb2.Image, task: str) -> tuple[int, Any]:
    query = {"task": task, "size": "64"}
    async with studio.http.post("/api/board", params=query, data=io.BytesIO(image.data)) as found:
        answer = await found.json()
    if found.status != 200:
        return found.status, answer["error"]
    return found.status, np.frombuffer(base64.b64decode(answer["pixels"]), np.uint8).reshape(64, 64)


def areas() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Ids of areas, 32 x 128."""
    return np.arange(1, 17, dtype=np.uint8).reshape(2, 8).repeat(16, 0).repeat(16, 1)


LAYOUTS = {
    "ids": samples.file(areas()),
    "colours": samples.file(colourise(areas())),
    "a palette in another order": samples.file(Image.fromarray(colourise(areas())).quantize(32)),
    "the studio's own": image_pb2.Image(data=encode_png(areas())),
}


@pytest.mark.parametrize("name", LAYOUTS)
async def test_a_layout_is_opened_as_what_it_shows(studio: Studio, name: str) -> None:
    status, board = await opened(studio, LAYOUTS[name], "segmentation")

    assert status == 200
    # Half as large, and in the middle.
    assert (board[24:40] == areas()[::2, ::2]).all()
    assert not board[:24].any() and not board[40:].any()


async def test_a_sketch_is_opened_upright_and_as_the_translator_sees_it(studio: Studio) -> None:
    drawn = np.full((64, 64), 246, np.uint8)
    drawn[8:16, 8:60] = 40
    exif = Image.Exif()
    exif[0x0112] = 8  # what is stored as the top is the left side

    status, board = await opened(studio, samples.file(np.rot90(drawn, -1), exif=exif), "sketch")

    assert status == 200
    assert (board[drawn == 246] == 255).all() and (board[drawn == 40] < 60).all()


@pytest.mark.parametrize(
    ("image", "task", "message"),
    [
        (samples.file(samples.face(1)), "segmentation", "is no colour of CelebAMask-HQ's"),
        (samples.file(colourise(areas()), "JPEG"), "segmentation", "a JPEG mixes the classes"),
        (image_pb2.Image(data=b"a text"), "segmentation", "this is a text file; send PNG"),
        (image_pb2.Image(data=b"a text"), "sketch", "this is a text file; send PNG"),
        (samples.png_bomb(30_000), "sketch", "30000x30000 pixels"),
        (image_pb2.Image(data=bytes(64 * 2**20 + 1)), "sketch", "open a file of 64 MiB at most"),
    ],
)
async def test_what_cannot_be_opened_is_said(
    studio: Studio, image: image_pb2.Image, task: str, message: str
) -> None:
    status, said = await opened(studio, image, task)

    assert status == 400
    assert message in said


async def test_what_is_saved_is_what_services_take(studio: Studio) -> None:
    ids = areas()[:, :32]
    for task, pixels in (("segmentation", ids), ("sketch", ids * 10)):
        async with studio.http.post(
            "/api/file", params={"task": task, "size": "32"}, data=io.BytesIO(pixels.tobytes())
        ) as found:
            file = base64.b64decode((await found.json())["file"])
        with Image.open(io.BytesIO(file)) as saved:
            assert saved.mode == {"segmentation": "P", "sketch": "L"}[task]
            assert (np.asarray(saved) == pixels).all()


async def test_classes_have_the_colours_of_layouts(studio: Studio) -> None:
    async with studio.http.get("/api/classes") as found:
        classes = (await found.json())["classes"]

    assert [one["name"] for one in classes] == list(CLASS_NAMES)
    assert [tuple(one["color"]) for one in classes] == list(PALETTE)
