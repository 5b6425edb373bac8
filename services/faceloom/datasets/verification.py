"""Finds out whether a dataset is what it claims to be, and names everything that is not.

It is held against what it says of itself: every file has the sha256 of SHA256SUMS, every candidate is there
once, with the seed and the id that the recipe gives it, and counts and digests follow from the rows. What
today's code would have written is no part of it, nor are columns and keys that it does not know.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from faceloom.core.atomic_files import files_under
from faceloom.core.wording import counted, said, unreadable
from faceloom.datasets.candidates import coverage_faults
from faceloom.datasets.identity import split_of
from faceloom.datasets.latents import latent_rows
from faceloom.datasets.layout import (
    DATASET,
    FAILED,
    FILES,
    LATENTS,
    METADATA,
    RECIPE,
    REJECTED,
    STATE,
    SUMS,
)
from faceloom.datasets.outcomes import seed_from_json
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.summary import Summary, read_summary
from faceloom.store.model import file_sha256

# Without these as they were written there is nothing to compare.
_TEXTS: Final = {SUMS, METADATA, REJECTED, FAILED, RECIPE, LATENTS}
# How columns of a picture end; what comes before is the kind of picture: `sketch_file_name`.
_FILE, _SHA256, _PIXELS = "file_name", "sha256", "pixels_sha256"

MetadataRow = Mapping[str, Any]


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
        return faults + _content_faults(output, recipe, sums, summary)
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
    output: Path, recipe: Recipe, sums: Mapping[str, str], summary: Summary
) -> list[Fault]:
    """Whether files that are as they were written agree with each other."""
    accepted, rejected, failed = (_rows(output / name) for name in (METADATA, REJECTED, FAILED))
    faults = []
    for name, rows in ((METADATA, accepted), (REJECTED, rejected), (FAILED, failed)):
        faults += [Fault(name, text) for row in rows for text in _identity_faults(row, recipe)]
    faults += [
        Fault(METADATA, text) for row in accepted for text in _face_faults(row, recipe, sums)
    ]
    named = {row[column] for row in accepted for column in row if column.endswith(_FILE)}
    pictures = sums.keys() - {*FILES}
    faults += [Fault(path, "no row has this picture") for path in sorted(pictures - named)]
    found = [len(accepted), len(rejected), len(failed)]
    counts = [summary.planned, summary.accepted, summary.rejected, summary.failed]
    if counts != [sum(found), *found]:
        faults.append(
            Fault(DATASET, f"counts {_census(counts)}; there are {_census([sum(found), *found])}")
        )
    latents = latent_rows(output / LATENTS)
    if latents != {len(accepted)}:
        faults.append(
            Fault(LATENTS, f"{said(sorted(latents))} rows for {counted(len(accepted), 'face')}")
        )
    if summary.pixels_digest is not None and summary.pixels_digest != _pixels_digest(accepted):
        faults.append(Fault(DATASET, f"its digest of pixels does not follow from {METADATA}"))
    faults += [Fault(METADATA, text) for text in _filter_faults(accepted, rejected, recipe)]
    kept, others = ([row["ordinal"] for row in rows] for rows in (accepted, rejected + failed))
    blocks = [index for one in recipe.rounds for index in one.blocks]
    return faults + [
        Fault(METADATA, problem) for problem in coverage_faults(recipe.rounds, blocks, kept, others)
    ]


def _identity_faults(row: MetadataRow, recipe: Recipe) -> Iterator[str]:
    seed = recipe.seed_of(row["ordinal"])
    if (row["seed"], row["id"]) != (seed, recipe.source.id_of(seed)):
        yield f"the row of candidate {row['ordinal']} does not follow from the recipe"


def _face_faults(row: MetadataRow, recipe: Recipe, sums: Mapping[str, str]) -> Iterator[str]:
    """Of a face: its split, its truncation, and the files that it names."""
    claims = (row["split"], row["truncation_psi"])
    if claims != (split_of(row["id"]), recipe.source.truncation_psi):
        yield f"the row of candidate {row['ordinal']} does not follow from the recipe"
    for column, path in row.items():
        if column.endswith(_FILE):
            digest = row[column.removesuffix(_FILE) + _SHA256]
            if path not in sums:
                yield f"candidate {row['ordinal']} has {path}, which is not in {SUMS}"
            elif digest != sums[path]:
                yield f"candidate {row['ordinal']} has another sha256 of {path} than {SUMS}"


def _filter_faults(
    accepted: Sequence[MetadataRow], rejected: Sequence[MetadataRow], recipe: Recipe
) -> Iterator[str]:
    """Whether what was kept is what the filter keeps; what people chose is theirs to know."""
    decision = recipe.filter
    if decision.threshold is not None:
        for row, is_kept in [
            *((row, True) for row in accepted),
            *((row, False) for row in rejected),
        ]:
            if (row["quality"] >= decision.threshold) != is_kept:
                yield f"candidate {row['ordinal']} is on the wrong side of the filter"
    if decision.top is not None and accepted and rejected:
        worst = min(row["quality"] for row in accepted)
        if worst < max(row["quality"] for row in rejected):
            yield "a candidate that was kept has a lower score than one that was not"


def _pixels_digest(rows: Sequence[MetadataRow]) -> str:
    """The sha256 of what SHA256SUMS would be of the digests of pixels."""
    pixels = {
        row[column]: row[column.removesuffix(_FILE) + _PIXELS]
        for row in rows
        for column in row
        # What is no picture has none.
        if column.endswith(_FILE) and column.removesuffix(_FILE) + _PIXELS in row
    }
    return hashlib.sha256(sums_text(pixels)).hexdigest()


def pixel_faults(output: Path) -> list[Fault]:
    """Pictures whose pixels are not those that the dataset was made with; decodes all of them.

    Datasets, or faces, of schema 1 say nothing of pixels.
    """
    import numpy as np
    from PIL import Image

    faults = []
    for row in _rows(output / METADATA):
        for column, path in row.items():
            digest = row.get(column.removesuffix(_FILE) + _PIXELS)
            if not column.endswith(_FILE) or digest is None:
                continue
            try:
                with Image.open(output / path) as picture:
                    found = hashlib.sha256(np.asarray(picture).tobytes()).hexdigest()
            except OSError as error:
                faults.append(Fault(path, f"cannot be decoded: {unreadable(error)}"))
                continue
            if found != digest:
                faults.append(Fault(path, "has other pixels"))
    return faults


def sums_text(sums: Mapping[str, str]) -> bytes:
    """The content of SHA256SUMS, in the format of sha256sum."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def _census(counts: Sequence[int]) -> str:
    planned, accepted, rejected, failed = counts
    return f"{planned} candidates ({accepted} accepted, {rejected} rejected, {failed} failed)"


def _rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, their seeds as numbers whatever they are in it."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{**row, "seed": seed_from_json(row["seed"])} for row in rows]
