"""Writes the dataset card: what the dataset is, what made it, and what it must not be taken for."""

from collections.abc import Sequence

from faceloom.datasets.outcomes import seed_to_json
from faceloom.datasets.recipe import Platform, Recipe

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"


def dataset_card(
    recipe: Recipe, platforms: Sequence[Platform], accepted: int, rejected: int, failed: int
) -> str:
    """README.md of a dataset, with the front matter that the Hugging Face hub reads."""
    planned = accepted + rejected + failed
    seed = _seed(recipe)
    return f"""---
{_front_matter(recipe, accepted)}
---

# Synthetic faces with sketches and layouts

{accepted} generated faces, each with a line drawing and a map of 19 face-parsing classes. Made by Faceloom
from recipe `{recipe.digest}`.

## How it was made

A generator made {planned} candidates with truncation {recipe.source.truncation_psi:g} from the seeds of
stream {recipe.spec.seed}. A quality model accepted those with a score of at least {recipe.threshold:g}:
{accepted} accepted, {rejected} rejected (`rejected.jsonl`), {failed} could not be made (`failed.jsonl`).
`recipe.json` holds everything that was decided about this dataset, `provenance.json` who encoded its
pictures and what they were computed on; where all of it is equal, so are all bytes. A face keeps its id and
its split in every dataset that has it.

| service | model | version | runs on | licence of the weights | sha256 of the weights |
|---|---|---|---|---|---|
{_models(recipe, platforms)}

## What is in it

| file | content |
|---|---|
| `images/` | RGB PNG, the faces |
| `sketches/` | 8-bit grey PNG, dark lines on white |
| `layouts/` | 8-bit palette PNG; the pixel values are the class ids below |
| `metadata.jsonl` | one line per face: files, id, {seed}, quality score, split, sha256 of file and pixels |
| `latents.safetensors` | `z` and `w` (what synthesis received); row i belongs to line i of the metadata |
| `rejected.jsonl`, `failed.jsonl` | the other candidates |
| `labels.json` | names and colours of the classes |
| `provenance.json` | the encoders of the pictures, and the processors that services ran on |
| `SHA256SUMS` | for `sha256sum -c`; its own sha256 is the dataset's digest in `dataset.json` |

Splits follow from the id alone: about 90 % train, 5 % validation, 5 % test.

## Classes of the layouts

Order and colours are CelebAMask-HQ's. Left and right are the subject's own.

| id | class |
|---|---|
{_classes(recipe)}

## Limits

- Every picture comes from a random number through a generative model. None is a photograph, and none is meant
  to show a real person. A generator can come close to faces that it was trained on; make no claim about
  anybody's identity from these pictures.
- Sketches and layouts are predictions of models, not drawings or annotations by people, and nobody checked
  them one by one.
- The faces have the biases of the generator's training data and of the choices that trained the quality
  model. Ages, skin tones, poses and accessories are not balanced.
- Every PNG file says in its metadata that it was made by a machine. Keep these marks when you pass them on.

## Licence

The dataset comes under the terms of all models that made it; the strictest of them applies. They are in the
table above.
"""


def _front_matter(recipe: Recipe, accepted: int) -> str:
    size = next((name for limit, name in _SIZES if accepted < limit), _LARGEST)
    return f"""{_license(recipe)}
pretty_name: Synthetic faces with sketches and layouts
task_categories:
- image-to-image
- image-segmentation
- unconditional-image-generation
size_categories:
- {size}
tags:
- synthetic
- faces"""


def _license(recipe: Recipe) -> str:
    """The licence if all models share one that has a short name; else the reader is sent to the list."""
    first, *others = {model.license for model in recipe.models.values()}
    if not others and first and " " not in first:
        return f"license: {first.lower()}"
    return "license: other\nlicense_name: licences-of-the-models\nlicense_link: README.md#licence"


def _seed(recipe: Recipe) -> str:
    """How the files write seeds; see `seed_to_json`."""
    written = seed_to_json(recipe.seed_of(0))
    return "seed" if isinstance(written, int) else "seed (as text: it is beyond 2^53)"


def _models(recipe: Recipe, platforms: Sequence[Platform]) -> str:
    def runs_on(service: str) -> str:
        own = (one for one in platforms if one.service == service)
        return "; ".join(f"{one.device}, {one.processor}" for one in own)

    return "\n".join(
        f"| {service} | {model.name} | {model.version} | {runs_on(service)} | {model.license}"
        f" | `{model.digest}` |"
        for service, model in sorted(recipe.models.items())
    )


def _classes(recipe: Recipe) -> str:
    return "\n".join(f"| {index} | {name} |" for index, name in enumerate(recipe.class_names))
