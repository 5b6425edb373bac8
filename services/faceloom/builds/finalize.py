"""Puts the committed shards together as one dataset.

Everything here can be interrupted and done again: pictures are second names of the shards' files, other files
are put in place whole, `dataset.json` goes first and comes back last, and says that all the rest is there.

SHA256SUMS has a line `<sha256>  <path>` for every file of the dataset but itself and dataset.json, sorted by
the bytes of the path. The dataset's digest is the sha256 of SHA256SUMS, so two datasets are the same exactly
when their digests are.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceloom.builds.shards.commit import Shard, latents_by_file
from faceloom.core.atomic_files import (
    files_under,
    link_or_copy,
    sync_folder,
    write_atomically,
)
from faceloom.datasets.card import dataset_card
from faceloom.datasets.latents import merge_latents
from faceloom.datasets.layout import DATASET, METADATA, RECIPE, REJECTED
from faceloom.datasets.manifest import LATENTS, Manifest
from faceloom.datasets.outcomes import KINDS, Accepted, Failed, Rejected, seed_to_json
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.summary import Summary, document, summary_text
from faceloom.layouts.classes import PALETTE
from faceloom.store.model import file_sha256

FAILED = "failed.jsonl"
LABELS = "labels.json"
README = "README.md"
SUMS = "SHA256SUMS"
# All of a dataset but its pictures and dataset.json.
FILES = (METADATA, REJECTED, FAILED, LABELS, RECIPE, README, LATENTS, SUMS)
# Out of a hundred ids, how many go to which split. An id never changes its split, however the dataset grows.
_SPLITS = (("train", 90), ("validation", 95), ("test", 100))


@dataclass(frozen=True)
class Contents:
    """What the files of a dataset say, as it follows from the manifests of all its shards.

    Args:
        recipe: What it is made by.
        ordinals: Of the accepted faces, in order.
        texts: The files by name, without SHA256SUMS and dataset.json.
        sums: sha256 of those and of the pictures, by path.
        counts: Accepted, rejected, failed.
    """

    recipe: Recipe
    ordinals: Sequence[int]
    texts: Mapping[str, bytes]
    sums: Mapping[str, str]
    counts: tuple[int, int, int]

    def closed(self, latents_sha256: str) -> tuple[bytes, Summary]:
        """SHA256SUMS and what dataset.json says, once the latents are there."""
        listing = sums_text({**self.sums, LATENTS: latents_sha256})
        digest = hashlib.sha256(listing).hexdigest()
        return listing, Summary(sum(self.counts), *self.counts, self.recipe.digest, digest)


def finalize(output: Path, recipe: Recipe, shards: Sequence[Shard]) -> Summary:
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
    _place_pictures(output, sources)
    made = contents(recipe, [shard.manifest for shard in shards])
    for name, text in made.texts.items():
        write_atomically(output / name, text)
    merge_latents(output / LATENTS, made.ordinals, latents_by_file(shards))
    listing, summary = made.closed(file_sha256(output / LATENTS))
    write_atomically(output / SUMS, listing)
    write_atomically(output / DATASET, summary_text(summary))
    return summary


def contents(recipe: Recipe, manifests: Sequence[Manifest]) -> Contents:
    """What the files of a dataset say, latents and pictures aside."""
    sums = {
        path: manifest.files[path].sha256
        for manifest in manifests
        for outcome in manifest.accepted
        for path in outcome.files.values()
    }
    accepted = sorted((one for shard in manifests for one in shard.accepted), key=_ordinal)
    rejected = sorted((one for shard in manifests for one in shard.rejected), key=_ordinal)
    failed = sorted((one for shard in manifests for one in shard.failed), key=_ordinal)
    counts = (len(accepted), len(rejected), len(failed))
    texts = {
        METADATA: _lines(metadata_row(one, recipe, sums) for one in accepted),
        REJECTED: _lines(rejected_row(one) for one in rejected),
        FAILED: _lines(failed_row(one) for one in failed),
        LABELS: document(labels(recipe)),
        RECIPE: document(recipe.to_json()),
        README: dataset_card(recipe, *counts).encode(),
    }
    sums |= {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    return Contents(recipe, [one.ordinal for one in accepted], texts, sums, counts)


def reopen(output: Path) -> None:
    """Takes back that the dataset is complete."""
    (output / DATASET).unlink(missing_ok=True)
    sync_folder(output)


def sums_text(sums: Mapping[str, str]) -> bytes:
    """The content of SHA256SUMS, in the format of sha256sum."""
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()


def metadata_row(outcome: Accepted, recipe: Recipe, sums: Mapping[str, str]) -> dict[str, Any]:
    """The line of metadata.jsonl for an accepted face."""
    image, sketch, layout = (outcome.files[kind] for kind in KINDS)
    return {
        "file_name": image,
        "sketch_file_name": sketch,
        "layout_file_name": layout,
        "id": outcome.id,
        "ordinal": outcome.ordinal,
        "seed": seed_to_json(outcome.seed),
        "truncation_psi": recipe.spec.truncation_psi,
        "quality": outcome.score,
        "split": split_of(outcome.id),
        "sha256": sums[image],
        "sketch_sha256": sums[sketch],
        "layout_sha256": sums[layout],
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


def split_of(identity: str) -> str:
    """train, validation or test, by the id alone."""
    place = int(hashlib.sha256(identity.encode()).hexdigest(), 16) % 100
    return next(name for name, end in _SPLITS if place < end)


def labels(recipe: Recipe) -> dict[str, Any]:
    """What the values of the layouts mean."""
    return {
        "classes": [
            {"id": index, "name": name, "color": list(color)}
            for index, (name, color) in enumerate(zip(recipe.class_names, PALETTE, strict=True))
        ]
    }


def _place_pictures(output: Path, sources: Mapping[str, Shard]) -> None:
    """Exactly those pictures, whatever an interrupted or an earlier run left."""
    for kind in KINDS:
        (output / kind).mkdir(exist_ok=True)
        for path in files_under(output / kind):
            if f"{kind}/{path}" not in sources:
                (output / kind / path).unlink()
    for path, shard in sources.items():
        source, target = shard.folder / path, output / path
        if target.exists() and target.samefile(source):
            continue
        target.unlink(missing_ok=True)
        link_or_copy(source, target)
    for kind in KINDS:
        sync_folder(output / kind)


def _ordinal(outcome: Accepted | Rejected | Failed) -> int:
    return outcome.ordinal


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
