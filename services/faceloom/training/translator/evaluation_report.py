"""An evaluation as a table with a verdict, as JSON, and as a picture."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from faceloom.core.arrays import Pixels
from faceloom.layouts.labels import colourise
from faceloom.training.runs import contact_sheet, upscale, write_atomically
from faceloom.training.translator.evaluate import (
    MEAN_FACE,
    NEIGHBOUR,
    PLAIN_LOSS,
    STYLED,
    TRANSLATOR,
    Evaluation,
    EvaluationRow,
    EvaluationSpec,
)
from faceloom.training.translator.held_out import HeldOutFace
from faceloom.training.translator.measures import MEASURES
from faceloom.translator.model import SEGMENTATION, SKETCH

_TILE: Final = 128
# Standard errors on both sides of a mean that cover 95 of 100 samples.
_COVERAGE: Final = 1.96


@dataclass(frozen=True)
class BaselineComparison:
    """The translator against the baseline that comes closest to it.

    Args:
        measure: What is compared, a key of `MEASURES`.
        baseline: The name of the closest.
        lead: Mean over faces of how much better the translator is; negative when it is worse.
        error: Half of the 95 % confidence interval of the lead.
        among: How many baselines there are.
    """

    measure: str
    baseline: str
    lead: float
    error: float
    among: int

    @property
    def wins(self) -> bool:
        """Whether the translator is better than every baseline on average."""
        return self.lead > 0

    def __str__(self) -> str:
        measure = MEASURES[self.measure]
        return (
            f"{measure.title}: {'better' if self.wins else 'NOT better'} than all {self.among} baselines;"
            f" against the closest, {self.baseline}, {self.lead:+.{measure.digits}f}"
            f" ± {self.error:.{measure.digits}f} (95 %)"
        )


def verdict(evaluation: Evaluation) -> list[BaselineComparison]:
    """The translator against all baselines: on perceptual distance, and on what its task is about."""
    task = evaluation.spec.task
    adherence = "line_f1_2px" if task == SKETCH else "layout_mean_iou"
    return [_closest(evaluation.rows, measure) for measure in ("perceptual_distance", adherence)]


def _closest(rows: Mapping[str, EvaluationRow], measure: str) -> BaselineComparison:
    baselines = [name for name in (PLAIN_LOSS, NEIGHBOUR, MEAN_FACE) if name in rows]
    found = []
    for name in baselines:
        ours, theirs = (np.asarray(rows[key].values[measure]) for key in (TRANSLATOR, name))
        leads = MEASURES[measure].better * (ours - theirs)
        error = _COVERAGE * leads.std(ddof=1) / math.sqrt(len(leads))
        found.append(
            BaselineComparison(measure, name, float(leads.mean()), float(error), len(baselines))
        )
    return min(found, key=lambda comparison: comparison.lead)


def means(row: EvaluationRow) -> dict[str, float | None]:
    """Every measure of a row; None where it has none: of one picture there is no diversity."""
    known = {name: float(np.mean(values)) for name, values in row.values.items()}
    known["frechet_distance"] = row.frechet_distance
    return {name: known.get(name) for name in MEASURES}


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation for machines; what is infinite or does not exist is null."""
    spec = evaluation.spec
    return {
        "task": spec.task,
        "split": spec.split,
        "faces": evaluation.count,
        "variants": spec.variants,
        "profile": spec.profile,
        "digests": dict(evaluation.digests),
        "better": {
            name: "higher" if measure.better > 0 else "lower" for name, measure in MEASURES.items()
        },
        "rows": [
            {
                "name": name,
                **{
                    key: value if value is not None and math.isfinite(value) else None
                    for key, value in means(row).items()
                },
            }
            for name, row in evaluation.rows.items()
        ],
        "distance_of_people": evaluation.distance_of_people,
        "verdict": [
            {
                "measure": comparison.measure,
                "better_than_all_baselines": comparison.wins,
                "closest_baseline": comparison.baseline,
                "lead": comparison.lead,
                "error_95": comparison.error,
            }
            for comparison in verdict(evaluation)
        ],
    }


def to_markdown(evaluation: Evaluation) -> str:
    """The table, the verdict, and what the numbers are."""
    spec = evaluation.spec
    table = "\n".join(_table(evaluation.rows))
    comparisons = "\n".join(f"- {comparison}" for comparison in verdict(evaluation))
    return f"""\
{spec.task} to face: {evaluation.count} {spec.split} faces, {spec.variants} variants of each.

{table}

{comparisons}

Lower is better at ↓, higher at ↑. Numbers are means over faces and, for style variants, over their pictures.
Lines and layouts are what the sketch and the segmentation model see in a picture, compared with what they
saw in the true face: lines within 2 pixels, and the classes of the true face. The true face's own row is the
bound: 1 as long as those models are the ones that the dataset was built with. Diversity is the perceptual
distance of a face's variants from each other; different people are {evaluation.distance_of_people:.4f} apart.
Fréchet distances are of {evaluation.count} pictures to {evaluation.count} and compare only at that number.
"""


def _table(rows: Mapping[str, EvaluationRow]) -> list[str]:
    """Markdown, its columns padded so that it also reads well in a terminal."""
    head = ["", *(f"{m.title} {'↑' if m.better > 0 else '↓'}" for m in MEASURES.values())]
    lines = [head]
    for name, row in rows.items():
        cells = [_cell(value, MEASURES[key].digits) for key, value in means(row).items()]
        lines.append([name, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = [f"{'-' * (width - 1)}{':' if column else '-'}" for column, width in enumerate(widths)]
    padded = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        for line in (lines[0], rule, *lines[1:])
    ]
    return [f"| {' | '.join(line)} |" for line in padded]


def _cell(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def to_sheet(evaluation: Evaluation) -> Image.Image:
    """A row per face: condition, true face, translation, its variants, nearest neighbour, mean face."""
    rows = evaluation.rows
    tiles: list[Pixels] = []
    for place, truth in enumerate(evaluation.held_out):
        answered = (
            rows[name].examples[place] for name in (TRANSLATOR, STYLED, NEIGHBOUR, MEAN_FACE)
        )
        pictures = [truth.face, *(picture for pictures in answered for picture in pictures)]
        tiles += [
            upscale(picture, _TILE) for picture in (_shown(truth, evaluation.spec), *pictures)
        ]
    return contact_sheet(tiles, len(tiles) // len(evaluation.held_out))


def _shown(truth: HeldOutFace, spec: EvaluationSpec) -> Pixels:
    """What the translator was given, in colour."""
    if spec.task == SKETCH:
        return np.repeat(truth.sketch[..., None], 3, 2)
    return colourise(truth.layout) if spec.task == SEGMENTATION else truth.face


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """evaluation.json, evaluation.md and examples.png, each whole or not at all."""
    sheet = to_sheet(evaluation)
    texts = {
        "evaluation.json": json.dumps(to_json(evaluation), indent=2) + "\n",
        "evaluation.md": to_markdown(evaluation),
    }
    for name, text in texts.items():
        write_atomically(folder / name, partial(Path.write_text, data=text))
    write_atomically(folder / "examples.png", lambda path: sheet.save(path, "PNG"))
