"""What is damaged on an object store is named by verify, and made again by the next run."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.builds.fake_services import FakeServices
from tests.builds.object_store import ObjectStore, objects_of
from tests.builds.test_object_store import run

from faceloom.builds.fetch import fetch
from faceloom.builds.run import run_build
from faceloom.builds.verification import verify
from faceloom.core.errors import FaceloomError
from faceloom.datasets.objects import Objects
from faceloom.datasets.place import ObjectUrl
from faceloom.datasets.spec import BuildSpec

SPEC = BuildSpec(candidates=12)


def tar_of(place: ObjectUrl) -> str:
    [tar] = (path for path in objects_of(place) if path.endswith(".tar"))
    return tar


async def test_one_changed_byte_anywhere_in_a_tar_is_noticed(store: ObjectStore) -> None:
    place = store.new_place()
    await run(SPEC, place)
    objects, tar = Objects(place), tar_of(place)
    good = objects.read(tar)
    # A header, its unused end, a picture, the fill behind it, the end of the tar.
    for at in (0, 510, 512, 1023, len(good) // 2, len(good) - 1):
        objects.write(tar, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert [fault for fault in verify(place) if fault.path == ".build/shards/00000/0.json"], at
    for size in (0, 700, len(good) - 1):
        objects.write(tar, good[:size])
        assert verify(place), size
    objects.write(tar, good + b"x")
    assert verify(place)
    objects.write(tar, good)
    assert not verify(place)


async def test_faults_are_named_as_in_a_folder(store: ObjectStore) -> None:
    place = store.new_place()
    await run(SPEC, place)
    objects, tar = Objects(place), tar_of(place)
    good = objects.read(tar)
    objects.write(tar, good[:600] + b"?" + good[601:])
    picture = good[:100].rstrip(b"\0").decode()
    objects.write("thesis.txt", b"mine")
    objects.write("images/9999999.png", b"mine")
    objects.delete(["rejected.jsonl"])
    assert {str(fault) for fault in verify(place)} == {
        "rejected.jsonl: missing",
        f"{picture}: changed",
        "images/9999999.png: extra: no build wrote it",
        "thesis.txt: extra: no build wrote it",
        f".build/shards/00000/0.json: {picture} was changed",
    }


@pytest.mark.parametrize("what", ["tar", "no tar", "manifest", "no manifest", "metadata"])
async def test_what_is_damaged_is_made_again(what: str, store: ObjectStore, tmp_path: Path) -> None:
    spec, place = BuildSpec(candidates=320), store.new_place()
    first = (await run(spec, place, shards=5)).summary
    objects = Objects(place)
    [tar] = (path for path in objects.list(".build/shards/00003") if path.endswith(".tar"))
    manifest = ".build/shards/00003/0.json"
    match what:
        case "tar":
            objects.write(tar, objects.read(tar).replace(b"IDAT", b"IDAF", 1))
        case "no tar":
            objects.delete([tar])
        case "manifest":
            objects.write(manifest, b"{}")
        case "no manifest":
            objects.delete([manifest])
        case "metadata":
            objects.write("metadata.jsonl", b"{}\n")
    assert verify(place)
    # Texts are made again from the shards, by whoever fetches too.
    with nullcontext() if what == "metadata" else pytest.raises(FaceloomError, match="shard 3"):
        fetch(place, tmp_path / "fetched")
    services = FakeServices()
    again = await run_build(spec, place, services.client())
    assert again.summary == first
    # The probe, and the one shard.
    assert services.calls["generator"] == (1 if what == "metadata" else 2)
    assert not verify(place)
    assert fetch(place, tmp_path / "fetched") == first


async def test_a_generation_that_does_not_count_goes_when_another_does(store: ObjectStore) -> None:
    place = store.new_place()
    first = (await run(SPEC, place)).summary
    objects = Objects(place)
    # Of a worker that came late, and of one whose tar was lost.
    objects.write(".build/shards/00000/1.json", objects.read(".build/shards/00000/0.json"))
    assert [str(fault) for fault in verify(place)] == [
        f".build/shards/00000/1.json: {tar_of(place).rpartition('/')[2].replace('0.', '1.', 1)} is missing"
    ]
    objects.delete(["dataset.json"])
    assert (await run(SPEC, place)).summary == first
    assert not verify(place)
    assert ".build/shards/00000/1.json" not in objects_of(place)


async def test_without_a_plan_nothing_is_known(store: ObjectStore) -> None:
    place = store.new_place()
    assert [fault.path for fault in verify(place)] == [".build/build.json"]
