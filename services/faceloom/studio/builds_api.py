"""`/api/builds`: builds to follow, to order and to stop."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from faceloom.clients.pipeline import PipelineClient
from faceloom.datasets.spec import MAX_COUNT, MAX_PSI, MAX_SEED
from faceloom.pipeline.v1 import pipeline_pb2 as pb

_SHOWN = 50

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")]
_Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class _BuildForm(BaseModel):
    # Chosen by the page, so that a second click orders nothing twice.
    request_id: str
    name: _Name
    candidates: _Count | None = None
    accepted: _Count | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    truncation_psi: Annotated[float, Field(ge=0, le=MAX_PSI)] = 0.7


class Ordering:
    """Builds of the pipeline service.

    Args:
        pipeline: The service.
        root: The folder beneath which ordered datasets go; the service sees it under the same path.
    """

    def __init__(self, pipeline: PipelineClient, root: Path) -> None:
        self._pipeline = pipeline
        self._root = root

    def routes(self) -> Iterable[web.RouteDef]:
        """What it answers."""
        return (
            web.get("/api/builds", self.builds),
            web.post("/api/builds", self.create),
            web.post("/api/builds/{id}/cancel", self.cancel),
        )

    async def builds(self, request: web.Request) -> web.Response:
        """The newest builds."""
        found = await self._pipeline.newest(_SHOWN)
        return web.json_response({"builds": [_shown(build, self._root) for build in found]})

    async def create(self, request: web.Request) -> web.Response:
        """Orders a build, or takes up one that was interrupted."""
        order = _BuildForm.model_validate_json(await request.read())
        spec = pb.BuildSpec(seed=order.seed, truncation_psi=order.truncation_psi)
        if order.candidates is not None:
            spec.candidates = order.candidates
        if order.accepted is not None:
            spec.accepted = order.accepted
        made = await self._pipeline.create(
            pb.CreateBuildRequest(
                request_id=order.request_id, spec=spec, output=str(self._root / order.name)
            )
        )
        return web.json_response(_shown(made, self._root), status=201)

    async def cancel(self, request: web.Request) -> web.Response:
        """Stops a build. What is committed stays; the same order takes it up."""
        await self._pipeline.cancel(request.match_info["id"])
        return web.json_response({})


def _shown(build: pb.Build, root: Path) -> dict[str, Any]:
    progress, spec, output = build.progress, build.spec, Path(build.output)
    return {
        "id": build.id,
        "output": build.output,
        # As the gallery knows it, once it is finished.
        "name": output.relative_to(root).as_posix() if output.is_relative_to(root) else None,
        "state": pb.BuildState.Name(build.state).removeprefix("BUILD_STATE_"),
        "error": build.error,
        "target": spec.accepted or spec.candidates,
        "of": "accepted" if spec.accepted else "candidates",
        "seed": spec.seed,
        "processed": progress.processed,
        "kept": progress.kept,
        "failed": progress.failed,
        "images_per_second": progress.images_per_second,
        "created": build.create_time.ToMilliseconds(),
        "ended": build.end_time.ToMilliseconds() if build.HasField("end_time") else None,
    }
