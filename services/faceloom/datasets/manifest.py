"""What a committed shard says about itself, and how to find out whether it is true."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceloom.core.atomic_files import files_under
from faceloom.core.wording import unreadable
from faceloom.datasets.outcomes import (
    Accepted,
    Failed,
    Outcome,
    Rejected,
    accepted_from_json,
    to_json,
)
from faceloom.datasets.plan import coverage_faults
from faceloom.datasets.recipe import Recipe, canonical_json
from faceloom.store.model import file_sha256

MANIFEST = "manifest.json"
LATENTS = "latents.safetensors"


@dataclass(frozen=True)
class StoredFile:
    """What a manifest knows of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a shard holds."""

    recipe_digest: str
    index: int
    blocks: list[int]
    accepted: list[Accepted]
    rejected: list[Rejected]
    failed: list[Failed]
    files: dict[str, StoredFile]

    def to_bytes(self) -> bytes:
        """The manifest as a file, with a digest of itself."""
        data = {
            "recipe_digest": self.recipe_digest,
            "index": self.index,
            "blocks": self.blocks,
            "accepted": [to_json(outcome) for outcome in self.accepted],
            "rejected": [to_json(outcome) for outcome in self.rejected],
            "failed": [to_json(outcome) for outcome in self.failed],
            "files": {path: asdict(file) for path, file in sorted(self.files.items())},
        }
        own = hashlib.sha256(canonical_json(data)).hexdigest()
        return json.dumps(data | {"manifest_sha256": own}, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, text: bytes) -> "Manifest":
        """The manifest in a file.

        Raises:
            ValueError: It is not a manifest, or not as it was written.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            own = data.pop("manifest_sha256")
            if hashlib.sha256(canonical_json(data)).hexdigest() != own:
                raise ValueError("it was changed after it was written")
            return cls(
                recipe_digest=data["recipe_digest"],
                index=data["index"],
                blocks=data["blocks"],
                accepted=[accepted_from_json(row) for row in data["accepted"]],
                rejected=[Rejected(**row) for row in data["rejected"]],
                failed=[Failed(**row) for row in data["failed"]],
                files={path: StoredFile(**file) for path, file in data["files"].items()},
            )
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a manifest: {unreadable(error)}") from None


def shard_faults(
    folder: Path,
    recipe: Recipe,
    index: int,
    blocks: Sequence[int],
    hash_of: Callable[[Path], str] = file_sha256,
) -> list[str]:
    """Why a shard does not count; nothing when it does.

    Args:
        folder: A committed shard.
        recipe: What it must be made by.
        index: Its place in the build.
        blocks: The blocks it must hold.
        hash_of: Answers with the sha256 of a file.
    """
    try:
        manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    except OSError:
        return ["manifest.json cannot be read"]
    except ValueError as error:
        return [f"manifest.json: {error}"]
    if manifest.recipe_digest != recipe.digest:
        return ["manifest.json: it is of another recipe"]
    if (manifest.index, manifest.blocks) != (index, list(blocks)):
        return ["manifest.json: it is of other blocks"]
    faults = _file_faults(folder, manifest, hash_of)
    accepted = [outcome.ordinal for outcome in manifest.accepted]
    others = [outcome.ordinal for outcome in manifest.rejected]
    others += [outcome.ordinal for outcome in manifest.failed]
    faults += coverage_faults(recipe.spec, blocks, accepted, others)
    outcomes: list[Outcome] = [*manifest.accepted, *manifest.rejected, *manifest.failed]
    for outcome in outcomes:
        seed = recipe.seed_of(outcome.ordinal)
        if (outcome.seed, outcome.id) != (seed, recipe.id_of(seed)):
            faults.append(f"candidate {outcome.ordinal} has another seed or id")
    return faults


def _file_faults(folder: Path, manifest: Manifest, hash_of: Callable[[Path], str]) -> list[str]:
    needed = {path for outcome in manifest.accepted for path in outcome.files.values()}
    needed.add(LATENTS)
    faults = [f"{path} is not in the manifest" for path in needed - manifest.files.keys()]
    present = files_under(folder) - {MANIFEST}
    faults += [f"{path} is extra" for path in sorted(present - manifest.files.keys())]
    for path, file in sorted(manifest.files.items()):
        if path not in present:
            faults.append(f"{path} is missing")
        elif hash_of(folder / path) != file.sha256:
            faults.append(f"{path} was changed")
    return faults
