"""How good a translator is on faces it has not seen, beside answers that take no translator."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from faceloom.core.arrays import Pixels
from faceloom.training.generator.frechet import Features, feature_statistics, frechet_distance
from faceloom.training.translator.held_out import HeldOutFace, read_held_out
from faceloom.training.translator.local_services import Redrawing, Translating
from faceloom.training.translator.losses import feature_distance
from faceloom.training.translator.measures import diversity, layout_iou, line_match, psnr
from faceloom.training.translator.pairs import images

TRANSLATOR: Final = "translator"
STYLED: Final = "translator, style variants"
PLAIN_LOSS: Final = "without latent supervision"
NEIGHBOUR: Final = "nearest neighbour"
MEAN_FACE: Final = "mean face"
TRUE_FACE: Final = "true face"

# Rows of the picture.
EXAMPLES: Final = 8
# Different true faces whose distances from each other are looked at.
_PEOPLE: Final = 32
# Pictures whose features are computed at once.
_PART: Final = 50

# The n-th held-out face -> the pictures that a row of the table answers with, always as many.
Contender: TypeAlias = Callable[[int], Sequence[Pixels]]


@dataclass(frozen=True)
class EvaluationSpec:
    """What is evaluated on what.

    Args:
        task: `sketch`, `segmentation` or `face`.
        dataset: Folder of a dataset; neighbours come from its training split.
        split: `validation` or `test`.
        model: Folder of the translator.
        baseline_model: Folder of a translator trained on pictures alone, if there is one.
        profile: Whose sketch and segmentation models draw the answers again.
        variants: Styles per face, from 2.
        limit: How many faces at most; all of the split when not given.
    """

    task: str
    dataset: Path
    split: str
    model: Path
    baseline_model: Path | None = None
    profile: str = "tiny"
    variants: int = 4
    limit: int | None = None


@dataclass(frozen=True)
class EvaluationRow:
    """One line of the table.

    Args:
        values: By measure, one value per held-out face, the mean over its pictures.
        frechet_distance: Of the first pictures to the true faces.
        examples: The pictures for the first held-out faces.
    """

    values: Mapping[str, Sequence[float]]
    frechet_distance: float
    examples: Sequence[Sequence[Pixels]]


@dataclass(frozen=True)
class Evaluation:
    """The outcome.

    Args:
        spec: What was evaluated.
        digests: Of the weights by `model` and `baseline_model`, and of the `dataset`.
        held_out: The first of the faces.
        count: How many faces there were.
        rows: By name, in the order of the table.
        distance_of_people: Mean perceptual distance of different true faces.
    """

    spec: EvaluationSpec
    digests: Mapping[str, str]
    held_out: Sequence[HeldOutFace]
    count: int
    rows: Mapping[str, EvaluationRow]
    distance_of_people: float


def evaluate(
    spec: EvaluationSpec,
    features: Features,
    tell: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Evaluation:
    """Translate the held-out faces' conditions, and measure the answers.

    Args:
        spec: What to evaluate.
        features: The perceptual space.
        tell: Told which row of the table is at which face, of how many.

    Raises:
        UsageError: The dataset or a model is not what the evaluation needs.
        BrokenModel: A model folder is damaged.
    """
    translator = Translating(spec.model, spec.task)
    digests = {"model": translator.model.weights.sha256}
    plain_loss = None
    if spec.baseline_model is not None:
        plain_loss = Translating(spec.baseline_model, spec.task)
        digests["baseline_model"] = plain_loss.model.weights.sha256
    digests["dataset"], faces = read_held_out(
        spec.dataset, spec.task, translator.side, spec.split, spec.limit
    )
    answers = _answers(spec, faces, translator, plain_loss)
    examiner = Examiner(faces, features, Redrawing(spec.profile))
    rows = {name: examiner.row(answer, partial(tell, name)) for name, answer in answers.items()}
    people = diversity(features(_stacked([one.face for one in faces[:_PEOPLE]])))
    return Evaluation(spec, digests, faces[:EXAMPLES], len(faces), rows, people)


def _answers(
    spec: EvaluationSpec,
    faces: Sequence[HeldOutFace],
    translator: Translating,
    plain_loss: Translating | None,
) -> dict[str, Contender]:
    """What each row of the table answers."""
    conditions = [one.condition(spec.task) for one in faces]
    mean_face = translator.mean_face(conditions[0])
    # Every face has styles of its own, or the answers together would have only a few.
    count = spec.variants
    answers: dict[str, Contender] = {
        TRANSLATOR: lambda n: [translator.plain(conditions[n])],
        STYLED: lambda n: translator.variants(conditions[n], count, seed=n * count),
    }
    if plain_loss is not None:
        answers[PLAIN_LOSS] = lambda n: [plain_loss.plain(conditions[n])]
    return answers | {
        NEIGHBOUR: lambda n: [faces[n].neighbour],
        MEAN_FACE: lambda n: [mean_face],
        TRUE_FACE: lambda n: [faces[n].face],
    }


class Examiner:
    """Measures answers for the same held-out faces.

    Args:
        faces: At least two.
        features: The perceptual space.
        redrawing: What can be seen in an answer.
    """

    def __init__(
        self, faces: Sequence[HeldOutFace], features: Features, redrawing: Redrawing
    ) -> None:
        self._faces = faces
        self._features = features
        self._redrawing = redrawing
        self._truths = self._statistics([one.face for one in faces])

    def row(self, answer: Contender, tell: Callable[[int, int], None]) -> EvaluationRow:
        """The line of the table for one way to answer."""
        values = defaultdict(list)
        firsts, examples = [], []
        for place, truth in enumerate(self._faces):
            pictures = answer(place)
            for measure, value in self._measured(pictures, truth).items():
                values[measure].append(value)
            firsts.append(pictures[0])
            if place < EXAMPLES:
                examples.append(pictures)
            tell(place + 1, len(self._faces))
        # Of equal sets it is 0 but for rounding, which may be below.
        distance = max(0.0, frechet_distance(self._statistics(firsts), self._truths))
        return EvaluationRow(values, distance, examples)

    def _measured(self, pictures: Sequence[Pixels], truth: HeldOutFace) -> dict[str, float]:
        """Means over the pictures of one held-out face."""
        maps = self._features(_stacked(pictures))
        true_maps = self._features(_stacked([truth.face]))
        lines = [line_match(self._redrawing.lines(face), truth.sketch) for face in pictures]
        layouts = [layout_iou(self._redrawing.layout(face), truth.layout) for face in pictures]
        measured: dict[str, list[float]] = {
            "perceptual_distance": feature_distance(maps, true_maps).tolist(),
            "psnr_db": [psnr(face, truth.face) for face in pictures],
            "line_precision_2px": [match.precision for match in lines],
            "line_recall_2px": [match.recall for match in lines],
            "line_f1_2px": [match.f1 for match in lines],
            "layout_mean_iou": layouts,
        }
        if len(pictures) > 1:
            measured["diversity"] = [diversity(maps)]
        return {name: float(np.mean(value)) for name, value in measured.items()}

    def _statistics(self, faces: Sequence[Pixels]) -> tuple[Tensor, Tensor]:
        """What the Fréchet distance compares."""
        parts = (faces[start : start + _PART] for start in range(0, len(faces), _PART))
        return feature_statistics(self._features, map(_stacked, parts))


def _stacked(faces: Sequence[Pixels]) -> Tensor:
    """[S, S, 3] bytes -> [N, 3, S, S] in [-1, 1]."""
    return images(torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2))
