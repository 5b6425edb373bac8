"""`/api/labels`: faces to look at, and what people say of them."""

import asyncio
import json
from collections.abc import Iterable
from typing import Annotated
from unicodedata import normalize

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from faceloom.core.errors import NotFound
from faceloom.studio.datasets import Datasets, ShownDataset
from faceloom.studio.labels import Label, LabelStore, Verdicts
from faceloom.studio.metrics import StudioMetrics


def _tidy(name: object) -> object:
    """A name in composed characters, with single blanks."""
    return " ".join(normalize("NFC", name).split()) if isinstance(name, str) else name


# Without control characters, which databases and terminals take amiss.
Person = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$"),
    BeforeValidator(_tidy),
]


class _Whose(BaseModel):
    dataset: str
    person: Person


class _Next(_Whose):
    count: Annotated[int, Field(ge=1, le=100)] = 12
    # How many of those that are left have been skipped.
    offset: Annotated[int, Field(ge=0)] = 0


class _FaceRequest(_Whose):
    id: str


class _Word(_FaceRequest):
    label: Label


class Labelling:
    """Faces for people to judge.

    Args:
        datasets: Where the faces are.
        labels: Where the labels go.
        metrics: Where they are counted.
    """

    def __init__(self, datasets: Datasets, labels: LabelStore, metrics: StudioMetrics) -> None:
        self._datasets = datasets
        self._labels = labels
        self._metrics = metrics

    def routes(self) -> Iterable[web.RouteDef]:
        """What it answers."""
        return (
            web.get("/api/labels/next", self.next),
            web.put("/api/labels", self.put),
            web.delete("/api/labels", self.remove),
            web.get("/api/labels", self.verdicts),
            web.get("/api/labels.jsonl", self.export),
        )

    async def next(self, request: web.Request) -> web.Response:
        """Faces that this person has not judged yet. What the quality model said of them is not told: people
        would follow it."""
        asked = _Next.model_validate(dict(request.query))
        dataset = await asyncio.to_thread(self._datasets.get, asked.dataset)
        shuffled = await asyncio.to_thread(lambda: dataset.shuffled)
        done = await asyncio.to_thread(
            self._labels.of_person, dataset.recipe.source.digest, asked.person
        )
        left = [identity for identity in shuffled if identity not in done]
        return web.json_response(
            {
                "faces": left[asked.offset :][: asked.count],
                "done": len(shuffled) - len(left),
                "total": len(shuffled),
            }
        )

    async def put(self, request: web.Request) -> web.Response:
        """A person's word on a face; the last one counts."""
        word = _Word.model_validate_json(await request.read())
        dataset = await self._dataset_of(word)
        source = dataset.recipe.source.digest
        await asyncio.to_thread(self._labels.put, source, word.id, word.person, word.label)
        self._metrics.labelled(word.label)
        return web.json_response({})

    async def remove(self, request: web.Request) -> web.Response:
        """Takes a word back."""
        face = _FaceRequest.model_validate(dict(request.query))
        dataset = await self._dataset_of(face)
        source = dataset.recipe.source.digest
        await asyncio.to_thread(self._labels.remove, source, face.id, face.person)
        return web.json_response({})

    async def verdicts(self, request: web.Request) -> web.Response:
        """How far people are with a dataset, and whether they agree."""
        found = await self._verdicts(request)
        return web.json_response(
            {
                "keep": found.count(Label.KEEP),
                "reject": found.count(Label.REJECT),
                "tied": len(found.tied),
                "people": {person: said.total() for person, said in found.by_person.items()},
                "agreement": found.agreement,
            }
        )

    async def export(self, request: web.Request) -> web.Response:
        """The label file that `faceloom train quality` reads."""
        found = await self._verdicts(request)
        return web.Response(text=label_file(found), content_type="application/jsonl")

    async def _verdicts(self, request: web.Request) -> Verdicts:
        dataset = await asyncio.to_thread(self._datasets.get, request.query.get("dataset", ""))
        faces = await asyncio.to_thread(lambda: {*dataset.shuffled})
        return await asyncio.to_thread(self._labels.verdicts, dataset.recipe.source.digest, faces)

    async def _dataset_of(self, face: _FaceRequest) -> ShownDataset:
        dataset = await asyncio.to_thread(self._datasets.get, face.dataset)
        known = await asyncio.to_thread(lambda: (dataset.accepted, dataset.rejected))
        if not any(face.id in rows for rows in known):
            raise NotFound(f"{face.dataset} has no face with the id {face.id!r}")
        return dataset


def label_file(verdicts: Verdicts) -> str:
    """A line for every face that most agree on."""
    rows = ({"id": face, "label": label.value} for face, label in verdicts.decided.items())
    return "".join(f"{json.dumps(row)}\n" for row in rows)
