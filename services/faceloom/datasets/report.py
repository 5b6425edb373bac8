"""A dataset as one HTML page to look at: faces with their sketches and layouts, what was rejected and why,
the scores, the time it took, what the translator makes of it. The page is self-contained."""

import asyncio
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, TypeVar

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.atomic_files import write_atomically
from faceloom.core.errors import FaceloomError
from faceloom.core.wording import counted
from faceloom.datasets.embedded_pictures import colours, figure, triple
from faceloom.datasets.reader import Dataset
from faceloom.datasets.reader import open as open_dataset
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.records import FaceRecord
from faceloom.datasets.translations import translations
from faceloom.generator.v1 import generator_pb2

_TRIPLES = 24
_FACES = 96
_REJECTED = 60
_TRANSLATED = 12
_BINS = 40

T = TypeVar("T")


async def write_report(
    folder: Path, target: Path, faceloom: Faceloom, build: Mapping[str, Any]
) -> None:
    """Writes the page.

    Args:
        folder: A finished dataset.
        target: The HTML file.
        faceloom: Makes the rejected faces again, which the dataset does not hold, and translates. Without
            a translator, the page has no translations.
        build: What `faceloom build --json` printed, for the timings; may be empty.

    Raises:
        UsageError: `folder` is not a finished dataset.
        DamagedDataset: It is not as its build wrote it.
        ServiceError: A service failed.
    """
    dataset = open_dataset(folder)
    summary, recipe, accepted = dataset.summary, dataset.recipe, list(dataset.faces())
    rejected = sorted(dataset.rejected(), key=lambda record: record.quality)
    shown = _spread(rejected, _REJECTED)
    psi = recipe.spec.truncation_psi
    page = Template(Path(__file__).with_suffix(".html").read_text()).substitute(
        title=counted(summary.accepted, "synthetic face"),
        recipe_digest=summary.recipe_digest,
        dataset_digest=summary.dataset_digest,
        figures=_figures(vars(summary), build),
        pictures=_pictures(recipe),
        triples="".join(triple(dataset, face) for face in accepted[:_TRIPLES]),
        colours=colours(dataset.classes),
        more=_more(dataset, accepted[_TRIPLES : _TRIPLES + _FACES]),
        rejected="".join(
            figure(face, record)
            for face, record in zip(
                await _faces(faceloom, [record.seed for record in shown], psi),
                shown,
                strict=True,
            )
        ),
        filter=html.escape(str(recipe.filter)),
        histogram=_histogram(
            [record.quality for record in accepted],
            [record.quality for record in rejected],
            recipe.filter.threshold,
        ),
        timings=_timings(build),
        translations=await translations(
            dataset, _spread(accepted, _TRANSLATED), recipe.spec.seed, faceloom
        ),
    )
    await asyncio.to_thread(_write, target, page)


def _pictures(recipe: Recipe) -> str:
    """What is shown of every accepted face."""
    kinds = [kind.column.replace("_", " ") or "face" for kind in recipe.kinds if kind.is_picture]
    return html.escape(", ".join(kinds))


async def _faces(faceloom: Faceloom, seeds: Sequence[int], psi: float) -> list[bytes]:
    if not seeds:
        return []
    request = generator_pb2.GenerateRequest(
        seeds=seeds, truncation_psi=psi, output_format=image_pb2.IMAGE_FORMAT_PNG
    )
    return [face.image.data for face in (await faceloom.generate(request)).faces]


def _figures(summary: Mapping[str, Any], build: Mapping[str, Any]) -> str:
    numbers = {
        "candidates": f"{summary['planned']:,}",
        "accepted": f"{summary['accepted']:,}",
        "rejected": f"{summary['rejected']:,}",
        "failed": f"{summary['failed']:,}",
        "acceptance": f"{summary['accepted'] / max(1, summary['planned']):.1%}",
    }
    if "images_per_second" in build:
        numbers["candidates per second"] = f"{build['images_per_second']:.1f}"
    return "".join(f"<div><b>{value}</b>{name}</div>" for name, value in numbers.items())


def _more(dataset: Dataset, more: Sequence[FaceRecord]) -> str:
    if not more:
        return ""
    faces = "".join(figure(dataset.picture(face), face) for face in more)
    return f'<h2>More accepted faces</h2><div class="grid">{faces}</div>'


def _histogram(
    accepted: Sequence[float], rejected: Sequence[float], threshold: float | None
) -> str:
    width, height = 800, 180
    bins = [[0, 0] for _ in range(_BINS)]
    for side, scores in enumerate((accepted, rejected)):
        for score in scores:
            bins[min(_BINS - 1, int(score * _BINS))][side] += 1
    tallest = max(1, *(kept + refused for kept, refused in bins))
    step = width / _BINS
    bars = []
    for index, (kept, refused) in enumerate(bins):
        top = float(height)
        for count, kind in ((kept, "bar"), (refused, "bar out")):
            size = count / tallest * (height - 10)
            top -= size
            bars.append(
                f'<rect class="{kind}" x="{index * step + 1:.1f}" y="{top:.1f}"'
                f' width="{step - 2:.1f}" height="{size:.1f}"/>'
            )
    x = (threshold or 0) * width
    line = f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>' if x else ""
    ticks = "".join(
        f'<text x="{tick / 10 * width:.0f}" y="{height + 15}" text-anchor="middle">{tick / 10}</text>'
        for tick in range(1, 10)
    )
    extent = f'viewBox="0 0 {width} {height + 20}" width="{width}"'
    return f'<svg {extent} role="img" aria-label="scores">{"".join(bars)}{line}{ticks}</svg>'


def _timings(build: Mapping[str, Any]) -> str:
    seconds: Mapping[str, float] = build.get("seconds", {})
    if not seconds:
        return "<p>No timings were given.</p>"
    rows = "".join(
        f'<tr><td>{html.escape(stage)}</td><td class="number">{spent:.2f}</td></tr>'
        for stage, spent in sorted(seconds.items(), key=lambda item: -item[1])
    )
    return (
        f"<p>Seconds by stage, summed over blocks and over every run of the build. Stages of different blocks"
        f" run at the same time. The last run took {build.get('elapsed_seconds', 0):.1f} s.</p>"
        f"<table><tr><th>stage</th><th>seconds</th></tr>{rows}</table>"
    )


def _spread(records: Sequence[T], most: int) -> Sequence[T]:
    """At most that many records, evenly over the whole list."""
    shown = min(len(records), most)
    return [records[place * len(records) // shown] for place in range(shown)]


def _write(target: Path, page: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, page.encode())
    except OSError as error:
        raise FaceloomError(f"cannot write {target}: {error.strerror}") from None
