"""`/api/translate`, `/api/classes`: what people draw becomes faces."""

import base64
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from faceloom.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.runtime.errors import InvalidArgument
from faceloom.segmentation.classes import CLASS_NAMES, PALETTE
from faceloom.translator.v1 import translator_pb2 as pb

MAX_SIDE = 1024


class Task(StrEnum):
    """What is drawn."""

    SKETCH = "sketch"
    SEGMENTATION = "segmentation"


class _Drawing(BaseModel):
    task: Task
    size: Annotated[int, Field(ge=16, le=MAX_SIDE)]
    variants: Annotated[int, Field(ge=1, le=16)] = 1
    style_seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0


class Drawing:
    """Drawings and layouts become faces.

    Args:
        faceloom: Translates.
    """

    def __init__(self, faceloom: Faceloom) -> None:
        self._faceloom = faceloom

    def routes(self) -> Iterable[web.RouteDef]:
        """What it answers."""
        return (
            web.post("/api/translate", self.translate),
            web.get("/api/classes", self.classes),
        )

    async def classes(self, request: web.Request) -> web.Response:
        """The classes of layouts, in the order of their ids."""
        pairs = zip(CLASS_NAMES, PALETTE, strict=True)
        return web.json_response({"classes": [{"name": name, "color": rgb} for name, rgb in pairs]})

    async def translate(self, request: web.Request) -> web.Response:
        """Faces of a drawing: a body of size x size bytes, grey values or class ids, rows from the top."""
        drawing = _Drawing.model_validate(dict(request.query))
        pixels = await request.read()
        if len(pixels) != drawing.size**2:
            raise InvalidArgument(
                f"{len(pixels)} bytes are no drawing of {drawing.size} x {drawing.size}",
                field="size",
            )
        answer = await self._faceloom.translate(_request(drawing, pixels))
        faces = [base64.b64encode(one.image.data).decode() for one in answer.translations]
        return web.json_response(
            {"faces": faces, "model": f"{answer.model.name}/{answer.model.version}"}
        )


def _request(drawing: _Drawing, pixels: bytes) -> pb.TranslateRequest:
    request = pb.TranslateRequest(
        variants=drawing.variants, output_format=image_pb2.IMAGE_FORMAT_PNG
    )
    if drawing.style_seed is not None:
        request.style_seed = drawing.style_seed
        request.alpha = drawing.alpha
    picture = image_pb2.Image(width=drawing.size, height=drawing.size, data=pixels)
    if drawing.task is Task.SKETCH:
        picture.format = image_pb2.IMAGE_FORMAT_GRAY8
        request.sketch.CopyFrom(picture)
    else:
        picture.format = image_pb2.IMAGE_FORMAT_LABELS8
        request.layout.image.CopyFrom(picture)
        request.layout.order = pb.LABEL_ORDER_CELEBAMASK_HQ
    return request
