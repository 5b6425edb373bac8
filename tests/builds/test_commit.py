"""A shard counts only if everything about it is as it was written."""

import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices

from faceloom.builds.options import BuildOptions
from faceloom.builds.plan import Plan, PlannedRound
from faceloom.builds.run import Result
from faceloom.builds.shards.commit import ShardStore, faults_of
from faceloom.builds.storage.folder import BuildFolder
from faceloom.datasets.manifest import MANIFEST, Manifest
from faceloom.datasets.recipe import Recipe
from faceloom.datasets.spec import BuildSpec

Build = Callable[..., Awaitable[Result]]
SPEC = BuildSpec(candidates=12)


@pytest.fixture
async def shard(build: Build) -> Path:
    """A committed shard of six accepted faces or so."""
    result = await build(SPEC)
    return result.output / ".build" / "shards" / "00000.0"


def plan_of(shard: Path) -> Plan:
    plan = BuildFolder(shard.parents[2]).read_plan()
    assert plan is not None
    return plan


def files_in(shard: Path) -> list[Path]:
    return sorted(path for path in shard.rglob("*") if path.is_file())


async def test_one_changed_byte_in_any_file_is_noticed(shard: Path, tmp_path: Path) -> None:
    plan = plan_of(shard)
    assert not faults_of(shard, plan, 0)
    assert len(files_in(shard)) > 10
    for file in files_in(shard):
        good = file.read_bytes()
        for place in (0, len(good) // 2, len(good) - 1):
            file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            faults = faults_of(shard, plan, 0)
            # The manifest ends in a line feed, which nothing depends on.
            tail = file.name == MANIFEST and place == len(good) - 1
            assert faults or tail, f"{file} at {place}"
        file.write_bytes(good)
    assert not faults_of(shard, plan, 0)


async def test_missing_short_and_extra_files_are_noticed(shard: Path) -> None:
    plan = plan_of(shard)
    for file in files_in(shard):
        good = file.read_bytes()
        file.unlink()
        assert faults_of(shard, plan, 0), file
        file.write_bytes(good[:-10])
        assert faults_of(shard, plan, 0), file
        file.write_bytes(good)
    (shard / "images" / "extra.png").write_bytes(b"")
    assert faults_of(shard, plan, 0) == ["images/extra.png is extra"]


async def test_a_manifest_of_something_else_does_not_count(shard: Path) -> None:
    plan = plan_of(shard)
    for filter_, size, index, fault in (
        ({"by": "model", "threshold": 0.6}, 12, 0, "it is of another recipe"),
        ({"by": "model", "threshold": 0.5}, 128, 1, "it is of other blocks"),
        ({"by": "model", "threshold": 0.5}, 128, 0, "it is of other blocks"),
    ):
        size_ = {"candidates": size, "accepted": None}
        data = plan.recipe.to_json() | {"filter": filter_, "size": size_}
        shards = 1 if index == 0 else 2
        other = Plan((PlannedRound(Recipe.from_json(data), shards),))
        assert faults_of(shard, other, index) == [f"manifest.json: {fault}"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"{}", b'{"manifest_sha256": "0"}', b"\xff", b"[[1]]"]
)
def test_what_is_not_a_manifest_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Manifest.from_bytes(text)


async def test_a_manifest_without_one_candidate_does_not_count(shard: Path) -> None:
    manifest = Manifest.from_bytes((shard / MANIFEST).read_bytes())
    gone = manifest.rejected.pop()
    (shard / MANIFEST).write_bytes(manifest.to_bytes())
    faults = faults_of(shard, plan_of(shard), 0)
    assert faults == [f"candidate {gone.ordinal} is missing"]


async def test_broken_shards_are_made_again_and_others_are_not(build: Build) -> None:
    spec = BuildSpec(candidates=320)
    first = await build(spec, BuildOptions(shards=5))
    shards = first.output / ".build" / "shards"
    (shards / "00001.0" / MANIFEST).write_text("{}")
    next((shards / "00003.0" / "images").iterdir()).write_bytes(b"")
    (shards / ".tmp-00002-dead").mkdir()
    (first.output / "dataset.json").unlink()
    services = FakeServices()
    again = await build(spec, services=services)
    assert again.summary == first.summary
    assert services.calls["generator"] == 3  # the probe and the two shards
    assert sorted(path.name for path in shards.iterdir()) == [f"0000{n}.0" for n in range(5)]


async def test_the_newest_generation_that_counts_is_taken(shard: Path) -> None:
    store = ShardStore(shard.parent, plan_of(shard))
    shutil.copytree(shard, shard.with_name("00000.1"))
    shutil.copytree(shard, shard.with_name("00000.2"))
    (shard.with_name("00000.2") / MANIFEST).unlink()
    found = store.find_only(0)
    assert found is not None and found.folder.name == "00000.1"
    assert [path.name for path in shard.parent.iterdir()] == ["00000.1"]


async def test_a_second_commit_of_the_same_shard_loses(shard: Path) -> None:
    store = ShardStore(shard.parent, plan_of(shard))
    before = (shard / MANIFEST).read_bytes()
    late = store.draft(0)
    late.generation = 0  # as it was when neither had committed
    late = store.commit(late, [])
    assert late.manifest.to_bytes() == before == (shard / MANIFEST).read_bytes()
    assert [path.name for path in shard.parent.iterdir()] == ["00000.0"]


async def test_a_manifest_reads_as_json_with_what_the_design_promises(shard: Path) -> None:
    data = json.loads((shard / MANIFEST).read_bytes())
    told = {"schema", "made_by", "index", "blocks", "accepted", "rejected", "failed", "files"}
    assert told | {"encoders", "platforms"} < set(data)
    assert set(data["accepted"][0]) == {"id", "ordinal", "seed", "score", "files"}
    for path, file in data["files"].items():
        pixels = {"pixels_sha256"} if path.endswith(".png") else set()
        assert set(file) == {"sha256", "bytes"} | pixels
