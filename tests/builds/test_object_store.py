"""A build on an object store gives the dataset of a local one, with requests by the shard."""

import asyncio
import filecmp
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices, poison
from tests.builds.object_store import ObjectStore, objects_of
from tests.builds.test_same_bytes import files_of

from faceloom.builds.capacity import Fleet, Rates, size
from faceloom.builds.fetch import fetch
from faceloom.builds.options import BuildOptions
from faceloom.builds.run import Result, run_build
from faceloom.builds.status import read_standing
from faceloom.builds.verification import verify
from faceloom.builds.worker import Assignment, work
from faceloom.core.errors import FaceloomError, Internal, UsageError
from faceloom.datasets.objects import Objects
from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.spec import BuildSpec

Build = Callable[..., Awaitable[Result]]
FILES = {
    "README.md", "SHA256SUMS", "dataset.json", "failed.jsonl", "labels.json",
    "latents.safetensors", "metadata.jsonl", "provenance.json", "recipe.json", "rejected.jsonl",
}  # fmt: skip


async def run(spec: BuildSpec, place: ObjectUrl, **options: int) -> Result:
    return await run_build(spec, place, FakeServices().client(), BuildOptions(**options))


async def all_workers(spec: BuildSpec, place: ObjectUrl, shards: int, **options: bool) -> None:
    services = FakeServices(shuffle=random.Random(1))
    await asyncio.gather(
        *(
            work(Assignment(place, index, spec, shards, **options), services.client())
            for index in range(shards)
        )
    )


def is_same_tree(one: Path, other: Path) -> bool:
    # What was spent is of whoever made it.
    found = filecmp.dircmp(one, other, ignore=["spent"])
    odd = found.left_only + found.right_only + found.diff_files + found.funny_files
    return not odd and all(is_same_tree(one / name, other / name) for name in found.subdirs)


@pytest.mark.parametrize("spec", [BuildSpec(candidates=400), BuildSpec(accepted=200, seed=3)])
async def test_one_recipe_is_one_dataset_wherever_it_lies(
    spec: BuildSpec, store: ObjectStore, tmp_path: Path, build: Build
) -> None:
    local = await build(spec, BuildOptions(shards=4))
    place = store.new_place()
    result = await run(spec, place, shards=4)
    assert result.summary == local.summary
    top = {path: text for path, text in objects_of(place).items() if "/" not in path}
    assert top == {path: text for path, text in files_of(local.output).items() if path in FILES}
    assert not verify(place)
    fetched = tmp_path / "fetched"
    assert fetch(place, fetched) == local.summary
    assert is_same_tree(fetched, local.output)
    assert not verify(fetched)


async def test_workers_make_it_together(store: ObjectStore, build: Build) -> None:
    spec = BuildSpec(candidates=400)
    expected = (await build(spec)).summary
    place = store.new_place()
    await all_workers(spec, place, 4, finalize=True)
    services = FakeServices()
    again = await run_build(spec, place, services.client())
    assert again.summary == expected
    assert services.calls["generator"] == 1  # the probe: the dataset was finished
    assert not verify(place)


async def test_two_who_put_together_agree(store: ObjectStore) -> None:
    spec, place = BuildSpec(candidates=400), store.new_place()
    await all_workers(spec, place, 4)
    one, other = await asyncio.gather(run(spec, place), run(spec, place))
    assert one.summary == other.summary
    assert not verify(place)


async def test_requests_are_counted_by_the_shard(store: ObjectStore) -> None:
    few, many = 6, 18
    made, together, verified, told = [], [], [], []
    for shards in (few, many):
        spec, place = BuildSpec(candidates=64 * shards), store.new_place()
        store.requests()
        await all_workers(spec, place, shards)
        made.append(store.requests().total())
        await run(spec, place)
        together.append(store.requests().total())
        await asyncio.to_thread(verify, place)
        verified.append(store.requests().total())
        fleet = Fleet(1, 0, shards, poll_seconds=1e9, object_store=True)
        told.append(size(spec, shards, Rates(), fleet).store_requests)
        # Look, read the plan, see that it did not grow, look for the shard, put tar, manifest and record;
        # whoever begins puts the plan and reads it again.
        assert 7 * shards <= made[-1] <= 10 * shards
    more = many - few
    # List a shard, read manifest, tar and record; verify lists all at once.
    assert together[1] - together[0] == 4 * more
    assert verified[1] - verified[0] == 2 * more
    # `jobs plan` also has the manifests and records that a pipeline service reads while it waits.
    assert told[1] - told[0] == (7 + 4 + 2) * more


async def test_a_service_that_starts_looks_at_finished_builds_and_not_at_their_shards(
    store: ObjectStore,
) -> None:
    counts = []
    for shards in (2, 8):
        spec, place = BuildSpec(candidates=64 * shards), store.new_place()
        await all_workers(spec, place, shards, finalize=True)
        store.requests()
        assert (await asyncio.to_thread(read_standing, place))[1]
        counts.append(store.requests().total())
    assert counts[0] == counts[1]


async def test_more_candidates_in_as_many_shards_are_as_many_requests(store: ObjectStore) -> None:
    counts = []
    for candidates in (128, 640):
        place = store.new_place()
        store.requests()
        await run(BuildSpec(candidates=candidates), place, shards=2)
        counts.append(store.requests())
    assert counts[0] == counts[1]


async def test_failed_candidates_are_made_again(
    store: ObjectStore, tmp_path: Path, build: Build
) -> None:
    spec = BuildSpec(candidates=256)
    good = await build(spec, BuildOptions(shards=4))
    bad = FakeServices(fault=poison("sketch", set(range(0, 256, 20)), Internal("bug")))
    place = store.new_place()
    first = await run_build(spec, place, bad.client(), BuildOptions(shards=4))
    assert first.summary.failed > 0
    assert not verify(place)
    fetch(place, tmp_path / "fetched")
    again = await run(spec, place, retry_failed=True)
    assert again.summary == good.summary
    assert not verify(place)
    # Whoever fetched before gets what changed.
    assert fetch(place, tmp_path / "fetched") == good.summary
    assert files_of(tmp_path / "fetched") == files_of(good.output)


async def test_two_workers_of_one_shard_agree(store: ObjectStore) -> None:
    spec, place = BuildSpec(candidates=200), store.new_place()
    unlucky = FakeServices(fault=poison("sketch", {7, 8, 9}, Internal("bug")))
    await asyncio.gather(
        *(
            work(Assignment(place, 0, spec, 1), services.client())
            for services in (FakeServices(), unlucky, FakeServices())
        )
    )
    shards = [path for path in objects_of(place) if path.startswith(".build/shards/")]
    assert sum(path.endswith(".json") for path in shards) == 1
    assert (await run(spec, place)).summary.planned == 200
    assert not verify(place)


async def test_what_a_worker_left_behind_goes_when_its_shard_is_anothers(
    store: ObjectStore,
) -> None:
    spec, place = BuildSpec(candidates=130), store.new_place()
    await work(Assignment(place, 0, spec, 2), FakeServices().client())
    left, at_work = (f".build/shards/0000{index}/0.0123456789ab.tar" for index in (0, 9))
    for path in (left, at_work):
        Objects(place).write(path, b"half")
    await run(spec, place)
    assert left not in objects_of(place)
    assert at_work in objects_of(place)
    assert not verify(place)


async def test_somebody_elses_objects_are_left_alone(store: ObjectStore) -> None:
    place = store.new_place()
    Objects(place).write("thesis.txt", b"mine")
    with pytest.raises(UsageError, match="neither empty nor a build"):
        await run(BuildSpec(candidates=1), place)
    assert objects_of(place) == {"thesis.txt": b"mine"}


async def test_another_recipe_is_refused(store: ObjectStore) -> None:
    place = store.new_place()
    await run(BuildSpec(candidates=70), place)
    with pytest.raises(UsageError, match="does not become smaller"):
        await run(BuildSpec(candidates=69), place)


async def test_nothing_accepted_at_all_is_an_empty_dataset(
    store: ObjectStore, tmp_path: Path
) -> None:
    place = store.new_place()
    none = FakeServices(threshold=2.0)
    result = await run_build(BuildSpec(candidates=70), place, none.client())
    assert (result.summary.accepted, result.summary.rejected) == (0, 70)
    assert not verify(place)
    assert fetch(place, tmp_path / "fetched") == result.summary


async def test_only_a_finished_dataset_is_fetched(store: ObjectStore, tmp_path: Path) -> None:
    spec, place = BuildSpec(candidates=130), store.new_place()
    with pytest.raises(UsageError, match="holds no finished dataset"):
        fetch(place, tmp_path / "out")
    await all_workers(spec, place, 2)
    with pytest.raises(FaceloomError, match="holds no finished dataset"):
        fetch(place, tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_fetch_goes_on_and_keeps_what_is_good(store: ObjectStore, tmp_path: Path) -> None:
    spec, place, target = BuildSpec(candidates=320), store.new_place(), tmp_path / "out"
    summary = (await run(spec, place, shards=5)).summary

    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        fetch(place, target, interrupt)
    next((target / ".build/shards/00001.0/images").iterdir()).write_bytes(b"")
    store.requests()
    assert fetch(place, target) == summary
    # Plan, and that it did not grow, dataset.json, a list of all; then a manifest, or a list, manifest and
    # tar, for each.
    assert store.requests().total() == 4 + 2 * 1 + 3 * 3
    assert not verify(target)
    Objects(place).write("dataset.json", b"{}")
    with pytest.raises(UsageError, match="holds no finished dataset"):
        fetch(place, target)


def test_a_large_file_goes_in_parts_and_comes_back(store: ObjectStore, tmp_path: Path) -> None:
    objects = Objects(store.new_place())
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(random.Random(1).randbytes(70_000_000))
    store.requests()
    objects.upload("large", sent)
    # Begin, three parts, end.
    assert store.requests() == {"POST": 2, "PUT": 3}
    objects.download("large", back)
    assert filecmp.cmp(sent, back, shallow=False)
