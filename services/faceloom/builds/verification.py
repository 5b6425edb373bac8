"""Finds out whether a dataset is what its build wrote, and names everything that is not."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from faceloom.builds.finalize import FAILED, SUMS, metadata_row, rejected_row
from faceloom.builds.shards.commit import generations
from faceloom.builds.storage.bucket import BuildBucket
from faceloom.builds.storage.bucket_shards import manifest_path
from faceloom.builds.storage.folder import BuildFolder
from faceloom.core.atomic_files import files_under
from faceloom.core.errors import UsageError
from faceloom.core.wording import counted, said, unreadable
from faceloom.datasets.latents import latent_rows
from faceloom.datasets.layout import DATASET, METADATA, PLAN, RECIPE, REJECTED, SHARDS, STATE
from faceloom.datasets.manifest import LATENTS, MANIFEST, shard_faults
from faceloom.datasets.outcomes import KINDS, Accepted, Rejected, seed_from_json
from faceloom.datasets.place import Output
from faceloom.datasets.plan import block_count, coverage_faults, shard_blocks
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.summary import read_summary
from faceloom.store.model import file_sha256

# Without these as they were written there is nothing to compare.
_TEXTS = {SUMS, METADATA, REJECTED, FAILED, RECIPE, LATENTS}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Args:
        path: Relative to the dataset's folder.
        problem: What is wrong with it.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class _Hashes:
    """sha256 of files; a file with several names is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def __call__(self, path: Path) -> str:
        try:
            status = path.stat()
            key = (status.st_dev, status.st_ino)
            if key not in self._known:
                self._known[key] = file_sha256(path)
            return self._known[key]
        except OSError as error:
            return f"none: {error.strerror}"


def verify(output: Output) -> list[Fault]:
    """Everything that is wrong with a dataset and, if it is still there, with the state of its build."""
    if not isinstance(output, Path):
        dataset, state = _bucket_faults(BuildBucket(output))
        return dataset + state
    if not output.is_dir():
        return [Fault(str(output), "there is no such folder")]
    hashes = _Hashes()
    return dataset_faults(output, hashes) + _state_faults(BuildFolder(output), hashes)


def is_intact(output: Output) -> bool:
    """Whether there is a finished dataset, exactly as its build wrote it."""
    if isinstance(output, Path):
        return not dataset_faults(output)
    bucket = BuildBucket(output)
    # Pictures are not read for a dataset that is not finished.
    return bucket.read_summary() is not None and not _bucket_faults(bucket)[0]


def dataset_faults(
    output: Path,
    hash_of: Callable[[Path], str] = file_sha256,
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> list[Fault]:
    """Everything that is wrong with the dataset itself.

    Args:
        output: Its folder.
        hash_of: Answers with the sha256 of a file.
        elsewhere: sha256 by path of files of the dataset that are not in the folder.
    """
    try:
        summary = read_summary(output)
    except ValueError as error:
        return [Fault(DATASET, f"cannot be read: {error}")]
    if summary is None:
        return [Fault(DATASET, "missing: the build has not finished")]
    faults: list[Fault] = []
    try:
        text = (output / SUMS).read_bytes()
        lines = [line.partition("  ") for line in text.decode().splitlines()]
    except (OSError, ValueError) as error:
        return [Fault(SUMS, f"cannot be read: {unreadable(error)}")]
    sums = {path: digest for digest, _, path in lines}
    if hashlib.sha256(text).hexdigest() != summary.dataset_digest:
        faults.append(Fault(SUMS, f"is not what {DATASET} was written for"))
    faults += _file_faults(output, sums, hash_of, elsewhere)
    if {fault.path for fault in faults} & _TEXTS:
        return faults
    try:
        recipe = Recipe.from_json(json.loads((output / RECIPE).read_bytes()))
        if recipe.digest != summary.recipe_digest:
            faults.append(Fault(DATASET, "names another recipe than recipe.json"))
        counts = (summary.planned, summary.accepted, summary.rejected, summary.failed)
        return faults + _content_faults(output, recipe, sums, counts)
    except (ValueError, KeyError, TypeError) as error:
        return [*faults, Fault(".", f"cannot be understood: {unreadable(error)}")]


def _file_faults(
    output: Path,
    sums: Mapping[str, str],
    hash_of: Callable[[Path], str],
    elsewhere: Mapping[str, str],
) -> list[Fault]:
    present = {path for path in files_under(output) if not path.startswith(f"{STATE}/")}
    present = (present | elsewhere.keys()) - {DATASET, SUMS}
    faults = [Fault(path, "missing") for path in sorted(sums.keys() - present)]
    faults += [Fault(path, "extra: no build wrote it") for path in sorted(present - sums.keys())]
    return faults + [
        Fault(path, "changed")
        for path in sorted(sums.keys() & present)
        if (elsewhere.get(path) or hash_of(output / path)) != sums[path]
    ]


def _content_faults(
    output: Path, recipe: Recipe, sums: Mapping[str, str], counts: Sequence[int]
) -> list[Fault]:
    """Whether files that are as they were written agree with each other."""
    accepted, rejected, failed = (_rows(output / name) for name in (METADATA, REJECTED, FAILED))
    faults = []
    for row in accepted:
        outcome = Accepted(row["ordinal"], row["seed"], row["id"], row["quality"])
        faults += _row_faults(METADATA, row, recipe, metadata_row(outcome, recipe, sums))
    for row in rejected:
        refused = Rejected(row["ordinal"], row["seed"], row["id"], row["quality"])
        faults += _row_faults(REJECTED, row, recipe, rejected_row(refused))
    for row in failed:
        faults += _row_faults(FAILED, row, recipe, row)
    found = [len(accepted), len(rejected), len(failed)]
    if list(counts) != [sum(found), *found]:
        faults.append(
            Fault(DATASET, f"counts {_census(counts)}; there are {_census([sum(found), *found])}")
        )
    pictures = sum(path.startswith(tuple(f"{kind}/" for kind in KINDS)) for path in sums)
    if pictures != len(KINDS) * len(accepted):
        faults.append(
            Fault(METADATA, f"{counted(len(accepted), 'row')} for {counted(pictures, 'picture')}")
        )
    rows = latent_rows(output / LATENTS)
    if rows != {len(accepted)}:
        faults.append(
            Fault(LATENTS, f"{said(sorted(rows))} rows for {counted(len(accepted), 'face')}")
        )
    ordinals = [[row["ordinal"] for row in group] for group in (accepted, rejected + failed)]
    blocks = range(block_count(recipe.spec))
    return faults + [
        Fault(METADATA, problem)
        for problem in coverage_faults(recipe.spec, blocks, ordinals[0], ordinals[1])
    ]


def _census(counts: Sequence[int]) -> str:
    planned, accepted, rejected, failed = counts
    return f"{planned} candidates ({accepted} accepted, {rejected} rejected, {failed} failed)"


def _rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, their seeds as numbers whatever they are in it."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{**row, "seed": seed_from_json(row["seed"])} for row in rows]


def _row_faults(
    name: str, row: Mapping[str, Any], recipe: Recipe, expected: Mapping[str, Any]
) -> list[Fault]:
    seed = recipe.seed_of(row["ordinal"])
    if row == {**expected, "seed": seed} and row["id"] == recipe.id_of(seed):
        return []
    return [Fault(name, f"the row of candidate {row['ordinal']} does not follow from the recipe")]


def _state_faults(folder: BuildFolder, hash_of: Callable[[Path], str]) -> list[Fault]:
    """What is wrong with committed shards. Shards that are not there yet are no fault."""
    try:
        plan = folder.read_plan()
    except UsageError as error:
        return [Fault(PLAN, str(error))]
    if plan is None:
        return []
    faults = []
    for index in range(plan.shards):
        blocks = shard_blocks(plan.recipe.spec, plan.shards, index)
        for shard in generations(folder.output / SHARDS, index):
            path = shard.relative_to(folder.output).as_posix()
            problems = shard_faults(shard, plan.recipe, index, blocks, hash_of)
            faults += [Fault(path, problem) for problem in problems]
    return faults


def _bucket_faults(bucket: BuildBucket) -> tuple[list[Fault], list[Fault]]:
    """What is wrong with the dataset and with the shards, from reading every object once."""
    try:
        plan = bucket.read_plan()
    except UsageError as error:
        return [], [Fault(PLAN, str(error))]
    if plan is None:
        return [], [Fault(PLAN, "missing: it says which shards there are")]
    faults: list[Fault] = []
    pictures: dict[str, str] = {}
    with bucket.lock(shared=True):
        shards = bucket.shards(plan.recipe)
        found = bucket.generations()
        for index in range(plan.shards):
            blocks = shard_blocks(plan.recipe.spec, plan.shards, index)
            for generation in sorted(found.get(index, ())):
                _, problems = shards.bring(index, generation, blocks)
                path = manifest_path(index, generation)
                faults += [Fault(path, problem) for problem in problems]
                folder = shards.brought(index, generation)
                # A newer generation stands for the older ones.
                pictures |= _picture_hashes(folder)
                shutil.rmtree(folder)
        texts, strange = bucket.bring_dataset()
        elsewhere = pictures | dict.fromkeys(strange, "not read")
        return dataset_faults(texts, elsewhere=elsewhere), faults


def _picture_hashes(folder: Path) -> dict[str, str]:
    pictures = files_under(folder) - {MANIFEST, LATENTS}
    return {path: file_sha256(folder / path) for path in pictures}
