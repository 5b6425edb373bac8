"""Brings a finished dataset from an object store into the folder that a local build would have made."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from faceloom.builds.cancellation import one_cause
from faceloom.builds.shards.commit import Shard, ShardStore
from faceloom.builds.storage.bucket import BuildBucket
from faceloom.builds.storage.bucket_shards import ObjectShards
from faceloom.builds.storage.folder import BuildFolder
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.datasets.outcomes import Outcome
from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.summary import Summary


def fetch(
    source: ObjectUrl, target: Path, tell: Callable[[int, int], None] = lambda done, total: None
) -> Summary:
    """Verifies and commits shard after shard, as a run does that makes them. Shards that are here stay.

    Args:
        source: A finished dataset.
        target: Its folder to be; a fetch that was interrupted is taken up.
        tell: Hears of shards done and shards in all.

    Raises:
        UsageError: There is no finished dataset, or something else is in the folder.
        FaceloomError: The dataset is damaged.
    """
    bucket, folder = BuildBucket(source), BuildFolder(target)
    plan, summary = bucket.read_plan(), _summary(bucket)
    if plan is None or summary is None:
        raise UsageError(f"{source} holds no finished dataset; faceloom build finishes it")
    folder.check()
    with one_cause(target), folder.lock(), bucket.lock(shared=True):
        for number, planned in enumerate(plan.recorded):
            folder.record(number, planned)
        if folder.read_plan() != plan:
            raise UsageError(f"{target} holds a build in other shards; choose another folder")
        here, there = folder.shards(plan), bucket.shards(plan)
        here.clean()
        newest = bucket.committed()
        shards = []
        for index in range(plan.shards):
            shard = here.find_only(index)
            if shard is None or not _is_as_there(shard, bucket, newest):
                shard = _brought(index, there, here)
            shards.append(shard)
            tell(len(shards), plan.shards)
        made = folder.finalize(plan, shards)
    if made.dataset_digest != summary.dataset_digest:
        raise FaceloomError(f"{source} changed meanwhile, or is damaged; faceloom verify {source}")
    return made


def _summary(bucket: BuildBucket) -> Summary | None:
    try:
        return bucket.read_summary()
    except ValueError:
        return None


def _is_as_there(shard: Shard, bucket: BuildBucket, newest: Mapping[int, str]) -> bool:
    try:
        return shard.manifest == bucket.read_manifest(newest[shard.manifest.index])
    except (KeyError, OSError, ValueError):
        return False


def _brought(index: int, there: ObjectShards, here: ShardStore) -> Shard:
    shard = there.find_whole(index)
    if shard is None:
        raise FaceloomError(f"shard {index} is damaged or missing; the build's command mends it")
    draft = here.draft(index)
    for path in shard.manifest.files:
        draft.take_over(path, shard)
    manifest = shard.manifest
    draft.sign(manifest.encoders, manifest.platforms)
    outcomes: list[Outcome] = [*manifest.accepted, *manifest.rejected, *manifest.failed]
    committed = here.commit(draft, outcomes)
    shutil.rmtree(shard.folder)
    return committed
