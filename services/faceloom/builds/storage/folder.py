"""The folder of one build: is it ours, whose is it now, and what was it begun with.

The dataset lies in the folder itself, the working state in `.build/`. Both belong to one run at a time, or to
any number of workers that add shards and touch nothing else: an advisory lock (`flock`), exclusive or shared.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from faceloom.builds.finalize import finalize, reopen
from faceloom.builds.plan import Plan
from faceloom.builds.shards.commit import Shard, ShardStore, newest_generations
from faceloom.builds.storage.build import BuildStorage
from faceloom.core.atomic_files import take_lock, write_once
from faceloom.core.errors import UsageError
from faceloom.core.real_folder import check_real, real_folder
from faceloom.datasets.layout import DATASET, FILES, POOL, SHARDS, SPENT, STATE
from faceloom.datasets.manifest import MANIFEST, Manifest
from faceloom.datasets.stage import FACES, SEGMENTATION, SKETCH, Kind
from faceloom.datasets.summary import Summary, read_summary


class FolderInUse(UsageError):
    """Somebody else holds the folder; they will let go of it."""


class CannotWrite(UsageError):
    """The folder cannot be written.

    Args:
        output: The folder.
        cause: What the system said.
    """

    def __init__(self, output: Path, cause: OSError) -> None:
        super().__init__(f"cannot write to {output}: {cause.strerror}")
        self.cause = cause


class BuildFolder(BuildStorage):
    """Where one dataset is made. The methods are described where they are declared."""

    def __init__(self, output: Path) -> None:
        self.output: Path = output
        self.state = output / STATE

    def check(self) -> None:
        """Makes sure that nobody's files are in the way."""
        if self.output.exists() and not self.output.is_dir():
            raise UsageError(f"{self.output} is not a folder")
        # One look: another worker may be beginning the build right now.
        names = {path.name for path in self.output.iterdir()} if self.output.exists() else set()
        if names and not names & {STATE, DATASET}:
            raise UsageError(
                f"{self.output} is neither empty nor a build; choose another output folder"
            )

    @contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Holds the folder, alone or with others who share it."""
        check_real(self.output, (STATE, SHARDS, SPENT, POOL))
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock = take_lock(self.state / "lock", shared)
        except BlockingIOError:
            raise FolderInUse(f"another run is working on {self.output}") from None
        except OSError as error:
            raise CannotWrite(self.output, error) from None
        try:
            if not shared:
                for left_behind in self.state.glob(".new-*"):
                    left_behind.unlink()
            yield
        finally:
            os.close(lock)

    def read(self, name: str) -> bytes:
        """A file of the folder."""
        return (self.output / name).read_bytes()

    def write_once(self, name: str, data: bytes) -> None:
        """Puts a file in place unless there is one."""
        path = self.output / name
        path.parent.mkdir(exist_ok=True)
        write_once(path, data)

    def names(self, folder: str) -> Sequence[str]:
        """Names of the files in a folder."""
        return [f"{folder}/{path.name}" for path in (self.output / folder).glob("[!.]*")]

    def shards(self, plan: Plan) -> ShardStore:
        """Its shards."""
        return ShardStore(self.output / SHARDS, plan)

    def committed(self) -> Mapping[int, str]:
        """The newest generation of every shard."""
        found = newest_generations(self.output / SHARDS)
        return {index: folder.name for index, folder in found.items()}

    def read_manifest(self, generation: str) -> Manifest:
        """What a committed shard says about itself."""
        return Manifest.from_bytes(self.read(f"{SHARDS}/{generation}/{MANIFEST}"))

    def read_summary(self) -> Summary | None:
        """The summary of a finished dataset."""
        return read_summary(self.output)

    def finalize(self, plan: Plan, shards: Sequence[Shard]) -> Summary:
        """Makes the dataset."""
        return finalize(self.output, plan, shards)

    def reopen(self) -> None:
        """Takes back that the dataset is complete."""
        reopen(self.output)

    def remove(self) -> None:
        """Removes what builds wrote into the folder, and the folder if nothing else is in it."""
        if not self.output.exists():
            return
        self.check()
        kinds = self._kinds()
        with self.lock():
            self.reopen()
            for path in (*(self.output / name for name in FILES), *self.output.glob(".new-*")):
                path.unlink(missing_ok=True)
            for kind in kinds:
                with real_folder(self.output, kind.folder) as folder:
                    for name in filter(kind.is_name, os.listdir(folder)):
                        os.unlink(name, dir_fd=folder)
            shutil.rmtree(self.state)
        for path in (*(self.output / kind.folder for kind in kinds), self.output):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _kinds(self) -> tuple[Kind, ...]:
        """What builds wrote of faces, as far as can be known."""
        try:
            begun = self.begun_with()
        except UsageError:
            begun = None
        return begun.kinds if begun else (FACES, *SKETCH.outputs, *SEGMENTATION.outputs)
