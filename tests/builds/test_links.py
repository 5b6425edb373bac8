"""A folder that somebody else made cannot make a build write or remove anything outside of it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builds.api import ended, order, serving
from tests.builds.fake_services import FakeServices

from faceloom.builds.run import run_build
from faceloom.builds.storage.folder import BuildFolder
from faceloom.builds.verification import verify
from faceloom.core.errors import UsageError
from faceloom.datasets.spec import BuildSpec
from faceloom.pipeline.v1 import pipeline_pb2 as pb

SPEC = BuildSpec(candidates=70)
# What a build changes below its folder, and what is put there in its place.
INSIDE = ["images", "sketches", "layouts", ".build", ".build/shards", ".build/spent", ".build/pool"]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Somebody's files, named as a build names its own and otherwise."""
    folder = tmp_path / "victim"
    for name in ("thesis.txt", "0000001.png", "images/0000002.png", "shards/00000.0/manifest.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def build(output: Path) -> None:
    await run_build(SPEC, output, FakeServices().client())


@pytest.mark.parametrize("inside", INSIDE)
async def test_a_link_in_an_unpacked_folder(inside: str, tmp_path: Path, victim: Path) -> None:
    output = tmp_path / "out"
    (output / ".build").mkdir(parents=True)
    place = output / inside
    if place.is_dir():
        place.rmdir()
    place.symlink_to(victim)
    before = contents(victim)

    with pytest.raises(UsageError, match="is a link"):
        await build(output)
    assert contents(victim) == before


@pytest.mark.parametrize("inside", INSIDE[:5])
async def test_a_link_in_a_finished_dataset(inside: str, tmp_path: Path, victim: Path) -> None:
    output = tmp_path / "out"
    await build(output)
    shutil.rmtree(output / inside)
    (output / inside).symlink_to(victim)
    before = contents(victim)

    for act in (BuildFolder(output).remove, lambda: BuildFolder(output).check()):
        try:
            act()
        except UsageError as refused:
            assert "is a link" in str(refused)
    with pytest.raises(UsageError, match="is a link"):
        await build(output)
    assert contents(victim) == before


async def test_files_that_are_links(tmp_path: Path, victim: Path) -> None:
    output = tmp_path / "out"
    await build(output)
    picture = next((output / "images").iterdir())
    for path in (
        picture,
        output / "README.md",
        output / "dataset.json",
        output / ".build" / "lock",
    ):
        path.unlink()
        path.symlink_to(victim / "thesis.txt")
    before = contents(victim)
    with pytest.raises(UsageError, match="cannot write to"):
        await build(output)
    (output / ".build" / "lock").unlink()
    await build(output)

    assert contents(victim) == before
    assert not picture.is_symlink()
    assert verify(output) == []


async def test_what_no_build_wrote_stays(tmp_path: Path) -> None:
    output = tmp_path / "out"
    await build(output)
    mine = [output / "images" / "holiday.png", output / "sketches" / "sub" / "0000001.png"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (output / "images" / "9999999.png").write_bytes(b"of an earlier run")
    (output / "dataset.json").unlink()
    await build(output)
    assert not (output / "images" / "9999999.png").exists()
    assert {fault.problem for fault in verify(output)} == {"extra: no build wrote it"}
    BuildFolder(output).remove()

    assert [path.read_text() for path in mine] == ["mine", "mine"]
    assert contents(output).keys() == {"images/holiday.png", "sketches/sub/0000001.png"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_a_folder_of_another_user(tmp_path: Path, victim: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    os.chown(output, 65534, 65534)
    before = contents(victim)
    async with serving(tmp_path / "state") as stub:
        (output / ".build").mkdir()
        (output / "images").symlink_to(victim)
        made = (await stub.CreateBuild(order(output))).build
        done = await ended(stub, made.id)
        await stub.DeleteBuild(pb.DeleteBuildRequest(id=made.id))
    assert done.state == pb.BUILD_STATE_FAILED
    assert "belongs to another user (65534); choose a folder of your own" in done.error
    assert contents(victim) == before


async def test_a_link_that_is_put_there_meanwhile(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    before = contents(victim)
    from faceloom.builds import finalize

    original: Callable[..., None] = finalize._place_files

    def swap(*arguments: object) -> None:
        (output / "sketches").symlink_to(victim)
        original(*arguments)

    monkeypatch.setattr(finalize, "_place_files", swap)
    with pytest.raises(UsageError, match="sketches is a link or a file"):
        await build(output)
    assert contents(victim) == before
