"""How a shard comes to count. The only module that knows what a commit is.

A shard is written into a temporary folder beside its place, every file is brought to the disk, the manifest
with the sha256 of all files is written last, and one rename makes it count. A shard that is made again is a
new generation, `00007.1` after `00007.0`, so there is no moment at which neither is there. It is an atomic
commit by write, fsync and rename: there is no log to replay, for what was not renamed does not count.

A folder counts only if its manifest parses, is of the same recipe and blocks, and every hash verifies.
Whatever else is found is made again, as the next generation.

Any number of processes may commit at once, the same shard too: the first rename wins, and what the others
made is the same, so a commit is idempotent. Only who holds the build's folder alone removes what is not its
own.
"""

import errno
import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from faceloom.builds.plan import Plan
from faceloom.core.atomic_files import link_or_copy, sync_file, sync_folder
from faceloom.datasets.layout import LATENTS
from faceloom.datasets.manifest import MANIFEST, Manifest, StoredFile, shard_faults
from faceloom.datasets.outcomes import Accepted, Failed, Outcome, Rejected
from faceloom.datasets.recipe import Platform
from faceloom.store.model import file_sha256

_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Shard:
    """A shard that counts."""

    folder: Path
    manifest: Manifest


def latents_by_file(shards: Sequence[Shard]) -> dict[Path, list[int]]:
    """The files of shards that hold latents, and the ordinals of their rows."""
    return {
        shard.folder / LATENTS: [outcome.ordinal for outcome in shard.manifest.accepted]
        for shard in shards
    }


@dataclass
class Draft:
    """A shard being written. Nobody sees it before `ShardStore.commit`."""

    folder: Path
    index: int
    generation: int
    files: dict[str, StoredFile] = field(default_factory=dict)
    encoders: set[str] = field(default_factory=set)
    platforms: set[Platform] = field(default_factory=set)

    def write(self, path: str, data: bytes, pixels_sha256: str | None = None) -> None:
        """Adds a file; of a picture, its digest of pixels too."""
        self._place(path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.files[path] = StoredFile(digest, len(data), pixels_sha256)

    def sign(self, encoders: Iterable[str], platforms: Iterable[Platform]) -> None:
        """Notes who wrote pictures of it, and what they were computed on."""
        self.encoders.update(encoders)
        self.platforms.update(platforms)

    def take_over(self, path: str, shard: Shard) -> None:
        """Adds a file of an earlier generation as it is."""
        link_or_copy(shard.folder / path, self._place(path))
        self.files[path] = shard.manifest.files[path]

    def _place(self, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(exist_ok=True)
        return target


class ShardStore:
    """The shards of one build.

    Args:
        folder: Where they are; made when the first is written.
        plan: What each must hold, and be made by.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self._plan = plan
        self._drafts: set[Path] = set()

    def clean(self) -> None:
        """Removes everybody's drafts. Only for the one run that holds the build's lock alone."""
        for stale in self._folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(stale)

    def discard(self) -> None:
        """Removes the drafts that were begun here and did not come to count."""
        for folder in self._drafts:
            shutil.rmtree(folder, ignore_errors=True)
        self._drafts.clear()

    def draft(self, index: int) -> Draft:
        """Begins a shard: the generation after whatever is there."""
        generation = next(map(generation_of, generations(self._folder, index)), -1) + 1
        folder = self._folder / f"{_TEMPORARY}{index:05d}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        self._drafts.add(folder)
        return Draft(folder, index, generation)

    def commit(self, draft: Draft, outcomes: Sequence[Outcome]) -> Shard:
        """Makes a draft count.

        Args:
            draft: All files of the shard but the manifest.
            outcomes: How their candidates ended.
        """
        ordered = sorted(outcomes, key=lambda outcome: outcome.ordinal)
        manifest = Manifest(
            made_by=self._plan.recipe_of(draft.index).method_digest,
            index=draft.index,
            blocks=list(self._plan.blocks(draft.index)),
            accepted=[outcome for outcome in ordered if isinstance(outcome, Accepted)],
            rejected=[outcome for outcome in ordered if isinstance(outcome, Rejected)],
            failed=[outcome for outcome in ordered if isinstance(outcome, Failed)],
            files=draft.files,
            encoders=tuple(sorted(draft.encoders)),
            platforms=tuple(sorted(draft.platforms)),
        )
        (draft.folder / MANIFEST).write_bytes(manifest.to_bytes())
        files = [draft.folder / path for path in (*draft.files, MANIFEST)]
        for file in files:
            sync_file(file)
        for folder in {file.parent for file in files}:
            sync_folder(folder)
        target = self._folder / f"{draft.index:05d}.{draft.generation}"
        try:
            draft.folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Somebody else committed it first.
            shutil.rmtree(draft.folder)
            manifest = Manifest.from_bytes((target / MANIFEST).read_bytes())
        self._drafts.discard(draft.folder)
        sync_folder(self._folder)
        for older in generations(self._folder, draft.index):
            if generation_of(older) < draft.generation:
                # Others may be at it, too.
                shutil.rmtree(older, ignore_errors=True)
        return Shard(target, manifest)

    def find(self, index: int) -> Shard | None:
        """The newest generation of a shard that counts."""
        for folder in generations(self._folder, index):
            if not faults_of(folder, self._plan, index):
                return Shard(folder, Manifest.from_bytes((folder / MANIFEST).read_bytes()))
        return None

    def find_only(self, index: int) -> Shard | None:
        """As `find`; every other generation is removed. Only for who may `clean`."""
        found = self.find(index)
        for folder in generations(self._folder, index):
            if found is None or folder != found.folder:
                shutil.rmtree(folder)
        return found

    def whole(self, shard: Shard) -> Shard:
        """The shard: its folder has everything."""
        return shard


def faults_of(
    folder: Path, plan: Plan, index: int, hash_of: Callable[[Path], str] = file_sha256
) -> list[str]:
    """Why a folder does not count as the shard of that index; nothing when it does."""
    return shard_faults(
        folder, plan.recipe_of(index), index, plan.blocks(index), plan.rounds, hash_of
    )


def generations(folder: Path, index: int) -> list[Path]:
    """Where a shard may be, the newest first."""
    found = folder.glob(f"{index:05d}.*")
    return sorted(
        (path for path in found if path.suffix[1:].isdecimal()), key=generation_of, reverse=True
    )


def generation_of(folder: Path) -> int:
    """How often a committed shard was made again."""
    return int(folder.suffix[1:])


def newest_generations(folder: Path) -> dict[int, Path]:
    """Where every shard that is there is, by index, from one listing. Nothing is verified."""
    newest: dict[int, Path] = {}
    for path in folder.glob("*.*"):
        if not (path.stem.isdecimal() and path.suffix[1:].isdecimal()):
            continue
        index = int(path.stem)
        if index not in newest or generation_of(newest[index]) < generation_of(path):
            newest[index] = path
    return newest
