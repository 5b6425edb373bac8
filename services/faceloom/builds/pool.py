"""A finished dataset that another one is made from: scores, faces and drawings are taken as they are.

The same seeds and models would give the same again; a pool spares making them. What a model of another digest
would answer is not taken from it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from faceloom.builds.candidate import Candidate
from faceloom.builds.plan import Plan, Selection
from faceloom.builds.raw_images import raw_image
from faceloom.builds.stages import FACE_SERVICES
from faceloom.core.errors import UsageError
from faceloom.datasets.latent_arrays import Latents
from faceloom.datasets.layout import POOL
from faceloom.datasets.place import Output, below, output_of
from faceloom.datasets.png import decode_png
from faceloom.datasets.provenance import Provenance
from faceloom.datasets.reader import Dataset
from faceloom.datasets.reader import open as open_dataset
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.stage import FACES


class Pool:
    """A pool, as the blocks of one recipe are made from it.

    Args:
        dataset: The pool.
        recipe: What is made from it; its faces are those of the pool.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        here = dataset.recipe
        self._dataset = dataset
        self._faces = {face.ordinal: (row, face) for row, face in enumerate(dataset.faces())}
        self._latents: Latents = dataset.latents()
        same = {name for name, model in here.models.items() if recipe.models.get(name) == model}
        stages = [one for one in recipe.stages if one in here.stages and one.service in same]
        self._scores = _scores(dataset) if "quality" in same else {}
        self._kinds = (FACES, *(kind for stage in stages for kind in stage.outputs))
        made_with = dataset.provenance
        self._encoders = made_with.encoders
        self._platforms = [one for one in made_with.platforms if one.service in same]

    def provenance(self, with_files: bool) -> Provenance:
        """What made the scores that are taken from it, and the files, if any are."""
        if with_files:
            return Provenance.of(self._encoders, self._platforms)
        return Provenance.of((), (one for one in self._platforms if one.service in FACE_SERVICES))

    def score(self, candidates: Iterable[Candidate]) -> None:
        """Adds the scores that are known."""
        for candidate in candidates:
            candidate.score = self._scores.get(candidate.ordinal)

    def bring(self, candidates: Iterable[Candidate]) -> None:
        """Adds the files and latents of those that the pool holds; reads and decodes them."""
        for candidate in candidates:
            if candidate.ordinal not in self._faces:
                continue
            row, face = self._faces[candidate.ordinal]
            for kind in self._kinds:
                data = self._dataset.picture(face, kind.folder)
                candidate.files[kind.folder] = data
                candidate.made[kind.folder] = (
                    decode_png(data) if kind.is_picture else json.loads(data)
                )
            candidate.image = raw_image(candidate.made[FACES.folder])
            candidate.z, candidate.w = self._latents.z[row], self._latents.w[row]


def open_pool(output: Output, recorded: str) -> Dataset | None:
    """The pool that the plan of a build names, if it names one.

    Raises:
        UsageError: There is no finished dataset.
    """
    if not recorded:
        return None
    return open_dataset(below(output, POOL) if recorded == POOL else output_of(recorded))


@dataclass(frozen=True)
class Opened:
    """A pool, and what a build that is made from it is made by.

    Args:
        recipe: Faces have the ids that they have in the pool.
        selection: With the ordinals of the best candidates, if those are chosen.
        pool: Nothing where a build makes everything itself.
    """

    recipe: Recipe
    selection: Selection
    pool: Dataset | None


def open_selection(output: Output, recipe: Recipe, selection: Selection) -> Opened:
    """What is taken and chosen from a pool.

    Raises:
        UsageError: There is no finished dataset, it is one of other faces, or it does not know the scores.
    """
    pool = open_pool(output, selection.pool)
    if pool is None:
        return Opened(recipe, selection, None)
    here = pool.recipe
    recipe = replace(recipe, source=replace(recipe.source, namespace=here.source.namespace))
    if (here.source, here.spec.seed) != (recipe.source, recipe.spec.seed):
        raise UsageError(
            f"{pool.place} holds other faces: those of generator {here.source.generator[:12]}, seed"
            f" {here.spec.seed} and psi {here.spec.truncation_psi:g}"
        )
    if recipe.filter.top:
        selection = replace(selection, kept=_chosen(pool, recipe))
    return Opened(recipe, selection, pool)


def judge_of(plan: Plan) -> str:
    """The quality model that must go on judging a build that is made from a pool; any one where it is not."""
    return plan.recipe.models["quality"].reference if plan.selection.pool else ""


def _chosen(pool: Dataset, recipe: Recipe) -> tuple[int, ...]:
    """The ordinals of as many candidates as the recipe says: the highest scores, of equal ones the first.

    Raises:
        UsageError: The pool does not know the scores.
    """
    if pool.recipe.models["quality"] != recipe.models["quality"]:
        raise UsageError(
            f"the scores in {pool.place} are another quality model's; let the one that is served judge first:"
            f" faceloom dataset select {pool.place} --filter none --out ANOTHER"
        )
    scores = _scores(pool)
    if len(scores) < (recipe.filter.top or 0):
        raise UsageError(f"{pool.place} has {len(scores)} scores, and --top is {recipe.filter.top}")
    ranked = sorted(scores, key=lambda ordinal: (-scores[ordinal], ordinal))
    return tuple(sorted(ranked[: recipe.filter.top]))


def _scores(dataset: Dataset) -> dict[int, float]:
    """The scores of all candidates that were judged, by ordinal."""
    scores = {face.ordinal: face.quality for face in dataset.faces()}
    return scores | {one.ordinal: one.quality for one in dataset.rejected()}
