"""The studio: pages for people, and the small JSON API that these pages call.

The pages are files, without a build step; what they know comes from the API, and the API from the services,
from datasets on a volume and from the labels' database.
"""

from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from faceloom.clients.client import Faceloom
from faceloom.clients.pipeline import PipelineClient
from faceloom.studio.builds_api import Ordering
from faceloom.studio.datasets import Datasets
from faceloom.studio.drawing import MAX_SIDE, Drawing
from faceloom.studio.gallery import Gallery
from faceloom.studio.labelling import Labelling
from faceloom.studio.labels import LabelStore
from faceloom.studio.metrics import StudioMetrics
from faceloom.studio.middleware import answering

_PAGES = Path(__file__).parent / "pages"
_FIRST = "gallery"


def studio_app(
    datasets: Datasets,
    labels: LabelStore,
    faceloom: Faceloom,
    pipeline: PipelineClient,
    metrics: StudioMetrics,
) -> web.Application:
    """The application.

    Args:
        datasets: What is looked at and labelled, and where ordered builds go.
        labels: Where labels go.
        faceloom: The model services.
        pipeline: The pipeline service.
        metrics: Where requests and labels are counted.
    """
    app = web.Application(middlewares=[answering(metrics)], client_max_size=2 * MAX_SIDE**2)
    for part in (
        Gallery(datasets, faceloom),
        Labelling(datasets, labels, metrics),
        Drawing(faceloom),
        Ordering(pipeline, datasets.root),
    ):
        app.add_routes(part.routes())
    app.router.add_get("/", _home)
    app.router.add_get("/healthz", _alive)
    for page in _PAGES.glob("*.html"):
        app.router.add_get(f"/{page.stem}", _page(page))
    app.router.add_static("/static", _PAGES)
    return app


async def _home(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": _FIRST})


async def _alive(request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok\n")


def _page(file: Path) -> Handler:
    async def show(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(file)

    return show
