"""Finds out whether a dataset and the state of its build are whole, in a folder or on an object store."""

import shutil
from collections.abc import Callable
from pathlib import Path

from faceloom.builds.shards.commit import faults_of, generations
from faceloom.builds.storage.bucket import BuildBucket
from faceloom.builds.storage.bucket_shards import manifest_path
from faceloom.builds.storage.folder import BuildFolder
from faceloom.core.atomic_files import files_under
from faceloom.core.errors import UsageError
from faceloom.datasets.layout import LATENTS, PLAN, SHARDS
from faceloom.datasets.manifest import MANIFEST
from faceloom.datasets.place import Output
from faceloom.datasets.verification import Fault, dataset_faults
from faceloom.store.model import file_sha256


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
        raise UsageError(f"there is no folder {output}")
    hashes = _Hashes()
    return dataset_faults(output, hashes) + _state_faults(BuildFolder(output), hashes)


def is_intact(output: Output) -> bool:
    """Whether there is a finished dataset, exactly as its build wrote it."""
    if isinstance(output, Path):
        return not dataset_faults(output)
    bucket = BuildBucket(output)
    # Pictures are not read for a dataset that is not finished.
    return bucket.read_summary() is not None and not _bucket_faults(bucket)[0]


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
        for shard in generations(folder.output / SHARDS, index):
            path = shard.relative_to(folder.output).as_posix()
            problems = faults_of(shard, plan, index, hash_of)
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
        shards = bucket.shards(plan)
        found = bucket.generations()
        for index in range(plan.shards):
            for generation in sorted(found.get(index, ())):
                _, problems = shards.bring(index, generation)
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
