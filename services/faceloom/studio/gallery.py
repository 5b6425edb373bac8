"""`/api/datasets`, `/api/faces`, `/api/picture`: datasets to look at."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.errors import FailedPrecondition
from faceloom.generator.v1 import generator_pb2
from faceloom.studio.datasets import Datasets, ShownDataset

# A face's id says everything that its bytes follow from.
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


class _Page(BaseModel):
    dataset: str
    offset: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=500)] = 60


class _PictureRequest(BaseModel):
    dataset: str
    id: str
    kind: str = "face"


class Gallery:
    """Datasets, their faces, and the pictures of these.

    Args:
        datasets: Where they are.
        faceloom: Makes rejected faces again, which datasets do not hold.
    """

    def __init__(self, datasets: Datasets, faceloom: Faceloom) -> None:
        self._datasets = datasets
        self._faceloom = faceloom

    def routes(self) -> Iterable[web.RouteDef]:
        """What it answers."""
        return (
            web.get("/api/datasets", self.datasets),
            web.get("/api/faces", self.faces),
            web.get("/api/picture", self.picture),
        )

    async def datasets(self, request: web.Request) -> web.Response:
        """All datasets, the newest first."""
        found = await asyncio.to_thread(self._datasets.all)
        return web.json_response(
            {"datasets": [{"name": one.name, **vars(one.summary)} for one in found]}
        )

    async def faces(self, request: web.Request) -> web.Response:
        """A page of a dataset's accepted faces: lines of metadata.jsonl."""
        page = _Page.model_validate(dict(request.query))
        dataset = await asyncio.to_thread(self._datasets.get, page.dataset)
        faces = list((await asyncio.to_thread(lambda: dataset.accepted)).values())
        shown = [face.to_json() for face in faces[page.offset : page.offset + page.limit]]
        return web.json_response({"total": len(faces), "faces": shown})

    async def picture(self, request: web.Request) -> web.StreamResponse:
        """A PNG: the face, sketch or layout of an accepted face; the face of a rejected one."""
        asked = _PictureRequest.model_validate(dict(request.query))
        dataset = await asyncio.to_thread(self._datasets.get, asked.dataset)
        if asked.kind == "face" and asked.id in await asyncio.to_thread(lambda: dataset.rejected):
            picture = await self._make_again(dataset, asked.id)
        else:
            picture = await asyncio.to_thread(dataset.picture, asked.id, asked.kind)
        return web.Response(body=picture, content_type="image/png", headers=_FOR_EVER)

    async def _make_again(self, dataset: ShownDataset, identity: str) -> bytes:
        wanted = dataset.recipe.models["generator"]
        request = generator_pb2.GenerateRequest(
            seeds=[dataset.rejected[identity].seed],
            truncation_psi=dataset.recipe.spec.truncation_psi,
            output_format=image_pb2.IMAGE_FORMAT_PNG,
            model_version=wanted.reference,
        )
        response = await self._faceloom.generate(request)
        if response.model.digest != wanted.digest:
            raise FailedPrecondition(
                f"{dataset.name} was made by generator {wanted.digest[:12]}, the one that is served is"
                f" {response.model.digest[:12]}: its rejected faces cannot be shown"
            )
        return response.faces[0].image.data
