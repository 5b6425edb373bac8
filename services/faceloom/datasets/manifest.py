"""What a committed shard says about itself, and how to find out whether it is true."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from faceloom.core.atomic_files import files_under
from faceloom.core.wording import unreadable
from faceloom.datasets.candidates import Round, coverage_faults
from faceloom.datasets.identity import canonical_json
from faceloom.datasets.layout import LATENTS
from faceloom.datasets.outcomes import (
    Accepted,
    Failed,
    Outcome,
    Rejected,
    accepted_from_json,
    from_json,
    to_json,
)
from faceloom.datasets.recipe import Platform, Recipe
from faceloom.store.model import file_sha256

MANIFEST = "manifest.json"
SCHEMA = 2


@dataclass(frozen=True)
class StoredFile:
    """What a manifest knows of a file.

    Args:
        sha256: Of the file.
        bytes: Its size.
        pixels_sha256: Of its pixels, whoever encoded them; of pictures alone, and not with schema 1.
    """

    sha256: str
    bytes: int
    pixels_sha256: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The file in a manifest.

        Raises:
            KeyError: Something is missing.
        """
        return cls(data["sha256"], data["bytes"], data.get("pixels_sha256"))

    def to_json(self) -> dict[str, Any]:
        """The file as a manifest writes it."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Manifest:
    """What a shard holds.

    Args:
        made_by: The digest of the method, or of the recipe with schema 1.
        index: Its place in the build.
        blocks: The blocks that it holds.
        encoders: Who wrote the PNG files; with schema 1 the recipe says so.
        platforms: What services computed on; with schema 1 the recipe says so.
    """

    made_by: str
    index: int
    blocks: list[int]
    accepted: list[Accepted]
    rejected: list[Rejected]
    failed: list[Failed]
    files: dict[str, StoredFile]
    encoders: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()

    def to_bytes(self) -> bytes:
        """The manifest as a file, with a digest of itself."""
        data = {
            "schema": SCHEMA,
            "made_by": self.made_by,
            "index": self.index,
            "blocks": self.blocks,
            "accepted": [to_json(outcome) for outcome in self.accepted],
            "rejected": [to_json(outcome) for outcome in self.rejected],
            "failed": [to_json(outcome) for outcome in self.failed],
            "files": {path: file.to_json() for path, file in sorted(self.files.items())},
            "encoders": list(self.encoders),
            "platforms": [asdict(one) for one in self.platforms],
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
            schema = data.get("schema", 1)
            if schema > SCHEMA:
                raise ValueError(f"schema {schema}; this version reads up to {SCHEMA}")
            return cls(
                made_by=data["recipe_digest" if schema == 1 else "made_by"],
                index=data["index"],
                blocks=data["blocks"],
                accepted=[accepted_from_json(row) for row in data["accepted"]],
                rejected=[from_json(Rejected, row) for row in data["rejected"]],
                failed=[from_json(Failed, row) for row in data["failed"]],
                files={path: StoredFile.from_json(file) for path, file in data["files"].items()},
                encoders=tuple(data.get("encoders", ())),
                platforms=tuple(Platform(**one) for one in data.get("platforms", ())),
            )
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a manifest: {unreadable(error)}") from None


def shard_faults(
    folder: Path,
    recipe: Recipe,
    index: int,
    blocks: Sequence[int],
    rounds: Sequence[Round],
    hash_of: Callable[[Path], str] = file_sha256,
) -> list[str]:
    """Why a shard does not count; nothing when it does.

    Args:
        folder: A committed shard.
        recipe: What it must be made by.
        index: Its place in the build.
        blocks: The blocks it must hold.
        rounds: Of the build.
        hash_of: Answers with the sha256 of a file.
    """
    try:
        manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    except OSError:
        return ["manifest.json cannot be read"]
    except ValueError as error:
        return [f"manifest.json: {error}"]
    if manifest.made_by != recipe.method_digest:
        return ["manifest.json: it is of another recipe"]
    if (manifest.index, manifest.blocks) != (index, list(blocks)):
        return ["manifest.json: it is of other blocks"]
    faults = _file_faults(folder, manifest, hash_of)
    faults += [
        f"candidate {outcome.ordinal} has other files than its recipe says"
        for outcome in manifest.accepted
        if outcome.files != recipe.files_of(outcome.ordinal)
    ]
    accepted = [outcome.ordinal for outcome in manifest.accepted]
    others = [outcome.ordinal for outcome in manifest.rejected]
    others += [outcome.ordinal for outcome in manifest.failed]
    faults += coverage_faults(rounds, blocks, accepted, others)
    outcomes: list[Outcome] = [*manifest.accepted, *manifest.rejected, *manifest.failed]
    for outcome in outcomes:
        seed = recipe.seed_of(outcome.ordinal)
        if (outcome.seed, outcome.id) != (seed, recipe.source.id_of(seed)):
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
