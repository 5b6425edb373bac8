"""How a shard comes to count on an object store, which has no renames.

A shard is two objects: a tar with its files, then its manifest, which is put in place only if its generation
has none: a conditional put, `If-None-Match: *`. The first to do so wins, and the others take what it made. A
tar is named after the digest of the manifest that tells of it: two workers need not have made the same, since
a candidate may have failed for one of them, and neither may write over what the other's manifest counts on.

    .build/shards/00007/0.5f2b7c61d3a0.tar    .build/shards/00007/0.json

Drafts, and what is brought here to be verified, lie in a temporary folder as shards of a local build do.
"""

import filecmp
import hashlib
import shutil
from collections.abc import Container, Iterable, Sequence
from itertools import count
from pathlib import Path

from faceloom.builds.plan import Plan
from faceloom.builds.shards.commit import Draft, Shard, ShardStore, faults_of, generation_of
from faceloom.core.errors import FailedPrecondition
from faceloom.datasets.layout import LATENTS, SHARDS
from faceloom.datasets.manifest import MANIFEST, Manifest
from faceloom.datasets.objects import Objects
from faceloom.datasets.outcomes import Outcome
from faceloom.datasets.tar import pack, unpack

_MANIFEST = ".json"
TAR = ".tar"
_DIGITS_IN_NAME = 12


class ObjectShards:
    """See `Shards`.

    Args:
        objects: Of the build.
        scratch: A temporary folder.
        plan: What each must hold, and be made by.
    """

    def __init__(self, objects: Objects, scratch: Path, plan: Plan) -> None:
        self._objects = objects
        self._brought = scratch / "brought"
        self._tar = scratch / "tar"
        self._tar.mkdir(exist_ok=True)
        self._plan = plan
        self._local = ShardStore(scratch / "made", plan)
        self._newest: dict[int, int] = {}

    def clean(self) -> None:
        """Nothing: a tar without a manifest may be that of a worker that is at work."""

    def discard(self) -> None:
        """Removes the drafts that were begun here."""
        self._local.discard()

    def draft(self, index: int) -> Draft:
        """Begins a shard: the generation after whatever was found."""
        draft = self._local.draft(index)
        draft.generation = self._newest.get(index, -1) + 1
        return draft

    def commit(self, draft: Draft, outcomes: Sequence[Outcome]) -> Shard:
        """Makes a draft count, or takes what another made of it."""
        made = self._local.commit(draft, outcomes)
        for generation in count(draft.generation):
            self._upload(made, generation)
            path = manifest_path(draft.index, generation)
            won = self._objects.write_once(path, made.manifest.to_bytes())
            self._newest[draft.index] = generation
            winner = None if won else self.bring(draft.index, generation)[0]
            # The store may have done what it was asked twice because its first answer was lost.
            if won or (winner and winner.manifest == made.manifest):
                if generation > 0:
                    self._remove(self._list(draft.index), range(generation))
                return self._slim(made)
            if winner:
                self._objects.delete([tar_path(made.manifest, generation)])
                shutil.rmtree(made.folder)
                return self._slim(winner)
        raise AssertionError("generations have no end")

    def find(self, index: int) -> Shard | None:
        """The newest generation of a shard that counts; of its files there are the latents."""
        found = self.find_whole(index)
        return found and self._slim(found)

    def find_only(self, index: int) -> Shard | None:
        """As `find`; if there is one, every other generation is removed."""
        listed = self._list(index)
        found = self._first_that_counts(listed, index)
        if found is None:
            return None
        others = generations(listed)[index] - {generation_of(found.folder)}
        self._remove(listed, others)
        return self._slim(found)

    def find_whole(self, index: int) -> Shard | None:
        """The newest generation of a shard that counts, with its pictures."""
        return self._first_that_counts(self._list(index), index)

    def whole(self, shard: Shard) -> Shard:
        """The shard with its pictures.

        Raises:
            FailedPrecondition: It does not count any more.
        """
        manifest = shard.manifest
        found = self.find_whole(manifest.index)
        if found is None:
            raise FailedPrecondition(f"shard {manifest.index} was damaged", reason="SHARD_DAMAGED")
        return found

    def bring(self, index: int, generation: int) -> tuple[Shard | None, list[str]]:
        """A shard with its files, if it counts; and why it does not."""
        folder = self.brought(index, generation)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tar = self._tar / folder.name
        try:
            text = self._objects.read(manifest_path(index, generation))
            manifest = Manifest.from_bytes(text)
            self._objects.download(tar_path(manifest, generation), tar)
        except FileNotFoundError as error:
            return None, [f"{Path(error.filename).name} is missing"]
        except ValueError as error:
            return None, [f"{MANIFEST}: {error}"]
        unpack(tar, folder)
        (folder / MANIFEST).write_bytes(text)
        faults = faults_of(folder, self._plan, index)
        if not faults and not self._is_packed(tar, folder, manifest):
            faults = ["the tar was changed between its files"]
        tar.unlink()
        return (None if faults else Shard(folder, manifest)), faults

    def brought(self, index: int, generation: int) -> Path:
        """Where `bring` puts a shard."""
        return self._brought / f"{index:05d}.{generation}"

    def _list(self, index: int) -> list[str]:
        return list(self._objects.list(f"{SHARDS}/{index:05d}"))

    def _first_that_counts(self, listed: Iterable[str], index: int) -> Shard | None:
        found = sorted(generations(listed).get(index, ()), reverse=True)
        self._newest[index] = found[0] if found else -1
        brought = (self.bring(index, generation)[0] for generation in found)
        return next((shard for shard in brought if shard), None)

    def _is_packed(self, tar: Path, folder: Path, manifest: Manifest) -> bool:
        again = tar.with_suffix(".again")
        pack(folder, manifest.files, again)
        try:
            return filecmp.cmp(tar, again, shallow=False)
        finally:
            again.unlink()

    def _upload(self, made: Shard, generation: int) -> None:
        tar = self._tar / made.folder.name
        pack(made.folder, made.manifest.files, tar)
        self._objects.upload(tar_path(made.manifest, generation), tar)
        tar.unlink()

    def _slim(self, shard: Shard) -> Shard:
        """The shard without its pictures, which nobody needs here."""
        for path in shard.manifest.files.keys() - {LATENTS}:
            (shard.folder / path).unlink(missing_ok=True)
        return shard

    def _remove(self, listed: Iterable[str], gone: Container[int]) -> None:
        paths = [path for path in listed if (place := place_of(path)) and place[1] in gone]
        # Manifests first: without its tar one would still be read.
        self._objects.delete(sorted(paths, key=lambda path: not path.endswith(_MANIFEST)))


def manifest_path(index: int, generation: int) -> str:
    """The object that makes a shard count."""
    return f"{SHARDS}/{index:05d}/{generation}{_MANIFEST}"


def tar_path(manifest: Manifest, generation: int) -> str:
    """The object with the files that a manifest tells of."""
    digest = hashlib.sha256(manifest.to_bytes()).hexdigest()[:_DIGITS_IN_NAME]
    return f"{SHARDS}/{manifest.index:05d}/{generation}.{digest}{TAR}"


def generations(listed: Iterable[str]) -> dict[int, set[int]]:
    """The generations that have a manifest, by shard. Nothing is verified."""
    found: dict[int, set[int]] = {}
    for path in listed:
        if path.endswith(_MANIFEST) and (place := place_of(path)):
            found.setdefault(place[0], set()).add(place[1])
    return found


def place_of(path: str) -> tuple[int, int] | None:
    """The index and generation that an object belongs to; nothing if it is no part of a shard."""
    parts = path.removeprefix(f"{SHARDS}/").split("/")
    generation = parts[-1].partition(".")[0]
    if len(parts) != 2 or not (parts[0].isdecimal() and generation.isdecimal()):
        return None
    return int(parts[0]), int(generation)
