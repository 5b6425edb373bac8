"""Puts the committed shards together as one dataset.

Everything here can be interrupted and done again: pictures are second names of the shards' files, other files
are put in place whole, `dataset.json` goes first and comes back last, and says that all the rest is there.

SHA256SUMS has a line `<sha256>  <path>` for every file of the dataset but itself and dataset.json, sorted by
the bytes of the path. The dataset's digest is the sha256 of SHA256SUMS, so two datasets are the same exactly
when their digests are.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceloom.builds.plan import Plan
from faceloom.builds.shards.commit import Shard, latents_by_file
from faceloom.builds.stages import STAGES
from faceloom.core.atomic_files import (
    link_or_copy,
    sync_folder,
    write_atomically,
)
from faceloom.core.real_folder import real_folder
from faceloom.datasets.card import dataset_card
from faceloom.datasets.identity import split_of
from faceloom.datasets.latents import merge_latents
from faceloom.datasets.layout import (
    DATASET,
    FAILED,
    LABELS,
    LATENTS,
    METADATA,
    PROVENANCE,
    README,
    RECIPE,
    REJECTED,
    SUMS,
)
from faceloom.datasets.manifest import Manifest, StoredFile
from faceloom.datasets.outcomes import Accepted, Failed, Rejected, seed_to_json
from faceloom.datasets.provenance import Provenance
from faceloom.datasets.recipe import Platform, Recipe
from faceloom.datasets.stage import Kind
from faceloom.datasets.summary import SCHEMA, Summary, document, summary_text
from faceloom.datasets.verification import sums_text
from faceloom.layouts.classes import PALETTE
from faceloom.store.model import file_sha256


@dataclass(frozen=True)
class Contents:
    """What the files of a dataset say, as it follows from the manifests of all its shards.

    Args:
        recipe: What it is made by.
        ordinals: Of the accepted faces, in order.
        texts: The files by name, without SHA256SUMS and dataset.json.
        sums: sha256 of those and of the pictures, by path.
        counts: Accepted, rejected, failed.
        pixels_digest: As in `Summary`.
    """

    recipe: Recipe
    ordinals: Sequence[int]
    texts: Mapping[str, bytes]
    sums: Mapping[str, str]
    counts: tuple[int, int, int]
    pixels_digest: str | None

    def closed(self, latents_sha256: str) -> tuple[bytes, Summary]:
        """SHA256SUMS and what dataset.json says, once the latents are there."""
        listing = sums_text({**self.sums, LATENTS: latents_sha256})
        digest = hashlib.sha256(listing).hexdigest()
        summary = Summary(
            sum(self.counts), *self.counts, self.recipe.digest, digest, self.pixels_digest, SCHEMA
        )
        return listing, summary


def finalize(output: Path, plan: Plan, shards: Sequence[Shard]) -> Summary:
    """Makes the dataset out of all its shards, and declares it complete."""
    reopen(output)
    for left_behind in output.glob(".new-*"):
        left_behind.unlink()
    sources = {
        path: shard
        for shard in shards
        for outcome in shard.manifest.accepted
        for path in outcome.files.values()
    }
    _place_files(output, plan.recipe.kinds, sources)
    made = contents(plan, [shard.manifest for shard in shards])
    for name, text in made.texts.items():
        write_atomically(output / name, text)
    merge_latents(output / LATENTS, made.ordinals, latents_by_file(shards))
    listing, summary = made.closed(file_sha256(output / LATENTS))
    write_atomically(output / SUMS, listing)
    write_atomically(output / DATASET, summary_text(summary))
    return summary


def contents(plan: Plan, manifests: Sequence[Manifest]) -> Contents:
    """What the files of a dataset say, latents and pictures aside."""
    recipe = plan.recipe
    files = {
        path: manifest.files[path]
        for manifest in manifests
        for outcome in manifest.accepted
        for path in outcome.files.values()
    }
    accepted = sorted((one for shard in manifests for one in shard.accepted), key=_ordinal)
    rejected = sorted((one for shard in manifests for one in shard.rejected), key=_ordinal)
    failed = sorted((one for shard in manifests for one in shard.failed), key=_ordinal)
    counts = (len(accepted), len(rejected), len(failed))
    made_with = _provenance(plan, manifests)
    texts = {
        METADATA: _lines(metadata_row(one, recipe, files) for one in accepted),
        REJECTED: _lines(rejected_row(one) for one in rejected),
        FAILED: _lines(failed_row(one) for one in failed),
        **({LABELS: document(labels(recipe))} if recipe.class_names else {}),
        RECIPE: document(recipe.to_json()),
        PROVENANCE: document(made_with.to_json()),
        README: dataset_card(recipe, _contents_of(recipe), made_with.platforms, *counts).encode(),
    }
    sums = {path: file.sha256 for path, file in files.items()}
    sums |= {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    ordinals = [one.ordinal for one in accepted]
    return Contents(recipe, ordinals, texts, sums, counts, _pixels_digest(recipe, files))


def reopen(output: Path) -> None:
    """Takes back that the dataset is complete."""
    (output / DATASET).unlink(missing_ok=True)
    sync_folder(output)


def metadata_row(
    outcome: Accepted, recipe: Recipe, files: Mapping[str, StoredFile]
) -> dict[str, Any]:
    """The line of metadata.jsonl for an accepted face."""
    stored = [(kind, files[outcome.files[kind.folder]]) for kind in recipe.kinds]
    return {
        **{kind.column_of("file_name"): outcome.files[kind.folder] for kind in recipe.kinds},
        "id": outcome.id,
        "ordinal": outcome.ordinal,
        "seed": seed_to_json(outcome.seed),
        "truncation_psi": recipe.source.truncation_psi,
        "quality": outcome.score,
        "split": split_of(outcome.id),
        **{kind.column_of("sha256"): file.sha256 for kind, file in stored},
        **{
            kind.column_of("pixels_sha256"): file.pixels_sha256
            for kind, file in stored
            if kind.is_picture
        },
    }


def rejected_row(outcome: Rejected) -> dict[str, Any]:
    """The line of rejected.jsonl for a rejected candidate."""
    return {
        "id": outcome.id,
        "ordinal": outcome.ordinal,
        "seed": seed_to_json(outcome.seed),
        "quality": outcome.score,
    }


def failed_row(outcome: Failed) -> dict[str, Any]:
    """The line of failed.jsonl for a candidate that was not made."""
    return {**asdict(outcome), "seed": seed_to_json(outcome.seed)}


def labels(recipe: Recipe) -> dict[str, Any]:
    """What the values of the layouts mean."""
    return {
        "schema": SCHEMA,
        "classes": [
            {"id": index, "name": name, "color": list(color)}
            for index, (name, color) in enumerate(zip(recipe.class_names, PALETTE, strict=True))
        ],
    }


def _provenance(plan: Plan, manifests: Sequence[Manifest]) -> Provenance:
    encoders: set[str] = set()
    platforms: set[Platform] = set()
    for manifest in manifests:
        older = Provenance.of_schema_1(plan.recipe_of(manifest.index))
        encoders.update(manifest.encoders or older.encoders)
        platforms.update(manifest.platforms or older.platforms)
    return Provenance.of(encoders, platforms)


def _contents_of(recipe: Recipe) -> dict[str, str]:
    """What is in the files of each kind that a stage makes."""
    return {
        kind.folder: content
        for stage in recipe.stages
        for kind, content in zip(stage.outputs, STAGES[stage.name].contents, strict=True)
    }


def _pixels_digest(recipe: Recipe, files: Mapping[str, StoredFile]) -> str | None:
    pictures = {kind.folder for kind in recipe.kinds if kind.is_picture}
    pixels = {}
    for path, file in files.items():
        if path.partition("/")[0] not in pictures:
            continue
        if file.pixels_sha256 is None:
            return None
        pixels[path] = file.pixels_sha256
    return hashlib.sha256(sums_text(pixels)).hexdigest()


def _place_files(output: Path, kinds: Iterable[Kind], sources: Mapping[str, Shard]) -> None:
    """Exactly those files of faces, whatever an interrupted or an earlier run left."""
    for kind in kinds:
        wanted = {
            path.removeprefix(f"{kind.folder}/"): shard.folder / path
            for path, shard in sources.items()
            if path.startswith(f"{kind.folder}/")
        }
        with real_folder(output, kind.folder) as folder:
            present = {name for name in os.listdir(folder) if kind.is_name(name)}
            for name in present - wanted.keys():
                os.unlink(name, dir_fd=folder)
            for name, source in wanted.items():
                if name in present:
                    if os.path.samestat(os.lstat(name, dir_fd=folder), source.stat()):
                        continue
                    os.unlink(name, dir_fd=folder)
                link_or_copy(source, name, folder)
            os.fsync(folder)


def _ordinal(outcome: Accepted | Rejected | Failed) -> int:
    return outcome.ordinal


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
