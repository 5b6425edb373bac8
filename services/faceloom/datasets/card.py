"""Writes the dataset card: what the dataset is, what made it, and what it must not be taken for."""

from collections.abc import Mapping, Sequence

from faceloom.datasets.outcomes import seed_to_json
from faceloom.datasets.recipe import Platform, Recipe
from faceloom.datasets.stage import FACES

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"


def dataset_card(
    recipe: Recipe,
    contents: Mapping[str, str],
    platforms: Sequence[Platform],
    accepted: int,
    rejected: int,
    failed: int,
) -> str:
    """README.md of a dataset, with the front matter that the Hugging Face hub reads.

    Args:
        recipe: What it is made by.
        contents: What is in the files of each kind that its stages make, by folder.
        platforms: What services computed on.
        accepted: Faces in it.
        rejected: Candidates that the filter refused.
        failed: Candidates that could not be made.
    """
    planned = accepted + rejected + failed
    return f"""---
{_front_matter(recipe, accepted)}
---

# {_title(recipe)}

{accepted} generated faces{_each_with(recipe)}. Made by Faceloom from recipe `{recipe.digest}`.

## How it was made

A generator made {planned} candidates with truncation {recipe.source.truncation_psi:g} from the seeds of
stream {recipe.spec.seed}. {recipe.filter}:
{accepted} accepted, {rejected} rejected (`rejected.jsonl`), {failed} could not be made (`failed.jsonl`).
`recipe.json` holds everything that was decided about this dataset, `provenance.json` who encoded its
pictures and what they were computed on; where all of it is equal, so are all bytes. A face keeps its id and
its split in every dataset that has it.

| service | model | version | runs on | licence of the weights | sha256 of the weights |
|---|---|---|---|---|---|
{_models(recipe, platforms)}

## What is in it

{_files(recipe, contents)}
Splits follow from the id alone: about 90 % train, 5 % validation, 5 % test.

{_classes(recipe)}## Limits

{_limits(recipe)}
## Licence

The dataset comes under the terms of all models that made it; the strictest of them applies. They are in the
table above.
"""


def _front_matter(recipe: Recipe, accepted: int) -> str:
    size = next((name for limit, name in _SIZES if accepted < limit), _LARGEST)
    return f"""{_license(recipe)}
pretty_name: {_title(recipe)}
task_categories:
{_tasks(recipe)}- unconditional-image-generation
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


def _drawn(recipe: Recipe) -> list[str]:
    """What stages make of the faces: `sketches`, `layouts`."""
    return [kind.folder.replace("_", " ") for kind in recipe.kinds if kind != FACES]


def _title(recipe: Recipe) -> str:
    drawn = _drawn(recipe)
    return f"Synthetic faces with {_listed(drawn)}" if drawn else "Synthetic faces"


def _each_with(recipe: Recipe) -> str:
    columns = [kind.column.replace("_", " ") for kind in recipe.kinds if kind != FACES]
    return f", each with its {_listed(columns)}" if columns else ""


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _tasks(recipe: Recipe) -> str:
    tasks = ["image-to-image"] if recipe.stages else []
    tasks += ["image-segmentation"] if recipe.class_names else []
    return "".join(f"- {task}\n" for task in tasks)


def _files(recipe: Recipe, contents: Mapping[str, str]) -> str:
    classes = {"`labels.json`": "names and colours of the classes"} if recipe.class_names else {}
    files = {
        "`images/`": "RGB PNG, the faces",
        **{f"`{folder}/`": content for folder, content in contents.items()},
        "`metadata.jsonl`": f"one line per face: files, id, {_seed(recipe)}, quality score, split, sha256 of"
        " files and pixels",
        "`latents.safetensors`": "`z` and `w` (what synthesis received); row i belongs to line i of the"
        " metadata",
        "`rejected.jsonl`, `failed.jsonl`": "the other candidates",
        **classes,
        "`provenance.json`": "the encoders of the pictures, and the processors that services ran on",
        "`SHA256SUMS`": "for `sha256sum -c`; its own sha256 is the dataset's digest in `dataset.json`",
    }
    rows = "".join(f"| {file} | {content} |\n" for file, content in files.items())
    return f"| file | content |\n|---|---|\n{rows}"


def _limits(recipe: Recipe) -> str:
    drawn = _listed(_drawn(recipe)).capitalize()
    predictions = f"""\
- {drawn} are predictions of models, not drawings or annotations by people, and nobody checked
  them one by one.
"""
    return f"""\
- Every picture comes from a random number through a generative model. None is a photograph, and none is meant
  to show a real person. A generator can come close to faces that it was trained on; make no claim about
  anybody's identity from these pictures.
{predictions if drawn else ""}\
- The faces have the biases of the generator's training data and of the choices that trained the quality
  model. Ages, skin tones, poses and accessories are not balanced.
- Every PNG file says in its metadata that it was made by a machine. Keep these marks when you pass them on.
"""


def _classes(recipe: Recipe) -> str:
    if not recipe.class_names:
        return ""
    rows = "\n".join(f"| {index} | {name} |" for index, name in enumerate(recipe.class_names))
    return f"""## Classes of the layouts

Order and colours are CelebAMask-HQ's. Left and right are the subject's own.

| id | class |
|---|---|
{rows}

"""
