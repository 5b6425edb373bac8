"""A build on an object store: the same files as in a folder, but that pictures stay in the shards' tars.

There is no lock, and none is needed: shards and plans are put in place once (conditional put), and whoever
puts the dataset together from the same shards writes the same bytes.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from faceloom.builds.finalize import contents
from faceloom.builds.plan import Plan
from faceloom.builds.shards.commit import Shard, latents_by_file
from faceloom.builds.storage.bucket_shards import (
    TAR,
    ObjectShards,
    generations,
    manifest_path,
    place_of,
    tar_path,
)
from faceloom.builds.storage.build import BuildStorage
from faceloom.core.errors import UsageError
from faceloom.datasets.latents import merge_latents
from faceloom.datasets.layout import DATASET, FILES, LATENTS, SHARDS, STATE, SUMS
from faceloom.datasets.manifest import Manifest
from faceloom.datasets.objects import Objects
from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.summary import Summary, summary_in, summary_text
from faceloom.store.model import file_sha256


class BuildBucket(BuildStorage):
    """Where one dataset is made. The methods are described where they are declared."""

    def __init__(self, url: ObjectUrl) -> None:
        self.output: ObjectUrl = url
        self.objects = Objects(url)
        self._scratch: Path | None = None

    @property
    def scratch(self) -> Path:
        """A temporary folder, while the place is held."""
        assert self._scratch is not None, "lock() it first"
        return self._scratch

    def check(self) -> None:
        """Makes sure that nobody's objects are in the way."""
        objects, folders = self.objects.top()
        if (objects or folders) and not (STATE in folders or DATASET in objects):
            raise UsageError(
                f"{self.output} is neither empty nor a build; choose another output prefix"
            )

    @contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Keeps nobody away; there is a temporary folder as long as the place is worked on."""
        with tempfile.TemporaryDirectory(prefix="faceloom-") as scratch:
            self._scratch = Path(scratch)
            yield

    def read(self, name: str) -> bytes:
        """An object."""
        return self.objects.read(name)

    def write_once(self, name: str, data: bytes) -> None:
        """Puts an object in place unless there is one."""
        self.objects.write_once(name, data)

    def names(self, folder: str) -> Sequence[str]:
        """Names of the objects in a folder."""
        return list(self.objects.list(folder))

    def shards(self, plan: Plan) -> ObjectShards:
        """Its shards."""
        return ObjectShards(self.objects, self.scratch, plan)

    def generations(self) -> dict[int, set[int]]:
        """All generations of all shards that have a manifest."""
        return generations(self.objects.list(SHARDS))

    def committed(self) -> Mapping[int, str]:
        """The newest generation of every shard."""
        return {
            index: manifest_path(index, max(all_)) for index, all_ in self.generations().items()
        }

    def read_manifest(self, generation: str) -> Manifest:
        """What a committed shard says about itself."""
        return Manifest.from_bytes(self.read(generation))

    def read_summary(self) -> Summary | None:
        """The summary of a finished dataset."""
        try:
            return summary_in(self.read(DATASET))
        except FileNotFoundError:
            return None

    def finalize(self, plan: Plan, shards: Sequence[Shard]) -> Summary:
        """Makes the dataset. One that is there and stays the same is complete all the while."""
        made = contents(plan, [shard.manifest for shard in shards])
        latents = self.scratch / LATENTS
        merge_latents(latents, made.ordinals, latents_by_file(shards))
        listing, summary = made.closed(file_sha256(latents))
        if not self._is_complete(summary):
            self.reopen()
        for name, text in made.texts.items():
            self.objects.write(name, text)
        self.objects.upload(LATENTS, latents)
        self.objects.write(SUMS, listing)
        self.objects.write(DATASET, summary_text(summary))
        self._sweep(shards)
        return summary

    def reopen(self) -> None:
        """Takes back that the dataset is complete."""
        self.objects.delete([DATASET])

    def remove(self) -> None:
        """Removes what builds wrote."""
        self.check()
        self.reopen()
        self.objects.delete([*FILES, *self.objects.list(STATE)])

    def bring_dataset(self) -> tuple[Path, set[str]]:
        """The files of the dataset, without pictures, in a folder; and objects that are none of them."""
        folder = self.scratch / "dataset"
        folder.mkdir()
        objects, folders = self.objects.top()
        known = objects & {*FILES, DATASET}
        for name in known:
            self.objects.download(name, folder / name)
        strange = [self.objects.list(name) for name in folders - {STATE}]
        return folder, (objects - known).union(*strange)

    def _sweep(self, shards: Sequence[Shard]) -> None:
        """Removes tars that can never count: their generation, or a newer one, is another's."""
        listed = list(self.objects.list(SHARDS))
        found = generations(listed)
        kept = {
            tar_path(shard.manifest, generation)
            for shard in shards
            for generation in found.get(shard.manifest.index, ())
        }
        tars = (path for path in listed if path.endswith(TAR) and path not in kept)
        places = ((path, place_of(path)) for path in tars)
        self.objects.delete(
            path for path, place in places if place and place[1] <= max(found.get(place[0], {-1}))
        )

    def _is_complete(self, summary: Summary) -> bool:
        try:
            return self.read_summary() == summary
        except ValueError:
            return False
