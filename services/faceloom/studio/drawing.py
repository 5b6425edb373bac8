"""`/api/translate`, `/api/classes`, `/api/board`, `/api/file`: what people draw becomes faces;
it comes from files and goes to files."""

import asyncio
import base64
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from aiohttp import web
from PIL import Image as PilImage
from PIL import ImageOps
from pydantic import BaseModel, Field

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.arrays import Pixels
from faceloom.core.errors import InvalidArgument, UsageError
from faceloom.core.images import decode_grey, encode_file
from faceloom.layouts.classes import CLASS_NAMES, PALETTE
from faceloom.layouts.labels import encode_png
from faceloom.layouts.pictures import read_layout
from faceloom.translator.paper import on_white_paper
from faceloom.translator.v1 import translator_pb2 as pb

MAX_SIDE = 1024
# Of a file that is opened; a photograph of a telephone has less.
_MAX_FILE: Final = 64 * 2**20
_PAPER: Final = 255


class BoardTask(StrEnum):
    """What is drawn."""

    SKETCH = "sketch"
    SEGMENTATION = "segmentation"


class _Board(BaseModel):
    task: BoardTask
    size: Annotated[int, Field(ge=16, le=MAX_SIDE)]


class _DrawingRequest(_Board):
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
        # Decoding takes memory; see `runtime.image_files`.
        self._opening = asyncio.Lock()

    def routes(self) -> Iterable[web.RouteDef]:
        """What it answers."""
        return (
            web.post("/api/translate", self.translate),
            web.get("/api/classes", self.classes),
            web.post("/api/board", self.board),
            web.post("/api/file", self.file),
        )

    async def classes(self, request: web.Request) -> web.Response:
        """The classes of layouts, in the order of their ids."""
        pairs = zip(CLASS_NAMES, PALETTE, strict=True)
        return web.json_response({"classes": [{"name": name, "color": rgb} for name, rgb in pairs]})

    async def translate(self, request: web.Request) -> web.Response:
        """Faces of a drawing: a body of size x size bytes, grey values or class ids, rows from the top."""
        drawing = _DrawingRequest.model_validate(dict(request.query))
        pixels = await _pixels(request, drawing)
        answer = await self._faceloom.translate(_request(drawing, pixels))
        faces = [base64.b64encode(one.image.data).decode() for one in answer.translations]
        return web.json_response(
            {"faces": faces, "model": f"{answer.model.name}/{answer.model.version}"}
        )

    async def board(self, request: web.Request) -> web.Response:
        """What a file shows, as the translator sees it, whole and in the middle of a square board:
        size x size bytes, grey values or class ids."""
        board = _Board.model_validate(dict(request.query))
        data = await _file(request)
        async with self._opening:
            pixels = await asyncio.to_thread(_opened, data, board)
        return web.json_response({"pixels": base64.b64encode(pixels.tobytes()).decode()})

    async def file(self, request: web.Request) -> web.Response:
        """A drawing of size x size bytes as a PNG: grey, or a palette whose indices are the class ids."""
        board = _Board.model_validate(dict(request.query))
        data = await _pixels(request, board)
        pixels = np.frombuffer(data, np.uint8).reshape(board.size, board.size)
        return web.json_response({"file": base64.b64encode(_png(pixels, board.task)).decode()})


async def _pixels(request: web.Request, board: _Board) -> bytes:
    """The body, when it is a drawing of that size."""
    pixels = await request.read()
    if len(pixels) != board.size**2:
        raise InvalidArgument(
            f"{len(pixels)} bytes are no drawing of {board.size} x {board.size}", field="size"
        )
    return pixels


async def _file(request: web.Request) -> bytes:
    """The body, which may be larger than others."""
    data = bytearray()
    async for part in request.content.iter_any():
        data += part
        if len(data) > _MAX_FILE:
            raise UsageError(f"open a file of {_MAX_FILE // 2**20} MiB at most")
    return bytes(data)


def _opened(data: bytes, board: _Board) -> Pixels:
    """A file on a board: [size, size]."""
    # Any format of files: the bytes say which one it is.
    image = image_pb2.Image(format=image_pb2.IMAGE_FORMAT_PNG, data=data)
    if board.task is BoardTask.SEGMENTATION:
        shown = read_layout(image, "layout").labels
        smoothing, margin = PilImage.Resampling.NEAREST, 0
    else:
        shown = on_white_paper(decode_grey(image, "sketch"))
        smoothing, margin = PilImage.Resampling.BILINEAR, _PAPER
    size = (board.size, board.size)
    return np.asarray(ImageOps.pad(PilImage.fromarray(shown), size, smoothing, color=margin))


def _png(pixels: Pixels, task: BoardTask) -> bytes:
    if task is BoardTask.SKETCH:
        return encode_file(PilImage.fromarray(pixels), "PNG").data
    try:
        return encode_png(pixels)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _request(drawing: _DrawingRequest, pixels: bytes) -> pb.TranslateRequest:
    request = pb.TranslateRequest(
        variants=drawing.variants, output_format=image_pb2.IMAGE_FORMAT_PNG
    )
    if drawing.style_seed is not None:
        request.style_seed = drawing.style_seed
        request.alpha = drawing.alpha
    picture = image_pb2.Image(width=drawing.size, height=drawing.size, data=pixels)
    if drawing.task is BoardTask.SKETCH:
        picture.format = image_pb2.IMAGE_FORMAT_GRAY8
        request.sketch.CopyFrom(picture)
    else:
        picture.format = image_pb2.IMAGE_FORMAT_LABELS8
        request.layout.image.CopyFrom(picture)
        request.layout.order = pb.LABEL_ORDER_CELEBAMASK_HQ
    return request
