"""A dataset as one HTML page to look at: faces with their sketches and layouts, what was rejected and why,
the scores, the time it took, what the translator makes of it. The page is self-contained."""

import asyncio
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from faceloom.clients.client import Faceloom
from faceloom.common.v1 import image_pb2
from faceloom.core.atomic_files import write_atomically
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.wording import counted, unreadable
from faceloom.datasets.embedded_pictures import colours, figure, triple
from faceloom.datasets.layout import METADATA, RECIPE, REJECTED
from faceloom.datasets.outcomes import seed_from_json
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.summary import Summary, read_summary
from faceloom.datasets.translations import translations
from faceloom.generator.v1 import generator_pb2

_TRIPLES = 24
_FACES = 96
_REJECTED = 60
_TRANSLATED = 12
_BINS = 40


async def write_report(
    dataset: Path, target: Path, faceloom: Faceloom, build: Mapping[str, Any]
) -> None:
    """Writes the page.

    Args:
        dataset: A finished dataset.
        target: The HTML file.
        faceloom: Makes the rejected faces again, which the dataset does not hold, and translates. Without
            a translator, the page has no translations.
        build: What `faceloom build --json` printed, for the timings; may be empty.

    Raises:
        UsageError: `dataset` is not a finished dataset, or damaged.
        ServiceError: A service failed.
    """
    summary, recipe, accepted, rejected = _contents(dataset)
    shown = _spread(rejected, _REJECTED)
    psi = recipe.spec.truncation_psi
    page = Template(Path(__file__).with_suffix(".html").read_text()).substitute(
        title=counted(summary.accepted, "synthetic face"),
        recipe_digest=summary.recipe_digest,
        dataset_digest=summary.dataset_digest,
        figures=_figures(vars(summary), build),
        triples="".join(triple(dataset, row) for row in accepted[:_TRIPLES]),
        colours=colours(json.loads((dataset / "labels.json").read_text())["classes"]),
        more=_more(dataset, accepted[_TRIPLES : _TRIPLES + _FACES]),
        rejected="".join(
            figure(face, row)
            for face, row in zip(
                await _faces(faceloom, [seed_from_json(row["seed"]) for row in shown], psi),
                shown,
                strict=True,
            )
        ),
        threshold=recipe.threshold,
        histogram=_histogram(
            [row["quality"] for row in accepted],
            [row["quality"] for row in rejected],
            recipe.threshold,
        ),
        timings=_timings(build),
        translations=await translations(
            dataset, _spread(accepted, _TRANSLATED), recipe.spec.seed, faceloom
        ),
    )
    await asyncio.to_thread(_write, target, page)


def _contents(
    dataset: Path,
) -> tuple[Summary, Recipe, list[dict[str, Any]], list[dict[str, Any]]]:
    """What a dataset is, its accepted faces, and the rejected ones from the worst on."""
    try:
        summary = read_summary(dataset)
        if summary is None:
            raise UsageError(f"{dataset} is not a finished dataset; `faceloom build` makes one")
        recipe = Recipe.from_json(json.loads((dataset / RECIPE).read_text()))
        rejected = sorted(_rows(dataset / REJECTED), key=lambda row: float(row["quality"]))
        return summary, recipe, _rows(dataset / METADATA), rejected
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{dataset} is damaged ({unreadable(error)}); `faceloom verify` names every fault"
        ) from None


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


def _more(dataset: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    faces = "".join(figure((dataset / row["file_name"]).read_bytes(), row) for row in rows)
    return f'<h2>More accepted faces</h2><div class="grid">{faces}</div>'


def _histogram(accepted: Sequence[float], rejected: Sequence[float], threshold: float) -> str:
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
    x = threshold * width
    line = f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>'
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


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _spread(rows: Sequence[dict[str, Any]], most: int) -> Sequence[dict[str, Any]]:
    """At most that many rows, evenly over the whole list."""
    shown = min(len(rows), most)
    return [rows[place * len(rows) // shown] for place in range(shown)]


def _write(target: Path, page: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, page.encode())
    except OSError as error:
        raise FaceloomError(f"cannot write {target}: {error.strerror}") from None
