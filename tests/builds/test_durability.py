"""What counts is on the disk before it counts: a power cut takes nothing back, and no order is by chance."""

import errno
import itertools
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.builds.disk_spy import DiskSpy, Named, Synced

from faceloom.builds.run import Result
from faceloom.builds.verification import verify
from faceloom.core.atomic_files import link_or_copy, write_atomically, write_once
from faceloom.datasets.spec import BuildSpec
from faceloom.datasets.summary import read_summary

Build = Callable[..., Awaitable[Result]]
SPEC = BuildSpec(candidates=12)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> DiskSpy:
    spy = DiskSpy()
    spy.install(monkeypatch)
    return spy


async def test_all_of_a_shard_is_on_the_disk_before_it_counts_and_its_name_is_after(
    build: Build, disk: DiskSpy
) -> None:
    shard = (await build(SPEC)).output / ".build" / "shards" / "00000.0"

    committed = disk.naming(shard)
    rename = disk.events[committed]
    assert isinstance(rename, Named)
    draft = rename.source
    before = set(disk.events[:committed])
    files = [path for path in shard.rglob("*") if path.is_file()]
    folders = [shard, *(path for path in shard.rglob("*") if path.is_dir())]
    assert len(files) > 10 and len(folders) == 4
    for file in files:
        assert Synced(draft / file.relative_to(shard), file.read_bytes()) in before, file
    for folder in folders:
        names = frozenset(os.listdir(folder))
        assert Synced(draft / folder.relative_to(shard), names) in before, folder
    after = [event for event in disk.events[committed:] if isinstance(event, Synced)]
    assert any(
        event.path == shard.parent and shard.name in event.content  # type: ignore[operator]
        for event in after
    )


async def test_all_of_a_dataset_is_on_the_disk_before_it_is_complete(
    build: Build, disk: DiskSpy
) -> None:
    output = (await build(SPEC)).output

    complete = disk.naming(output / "dataset.json")
    for name in {path.name for path in output.iterdir() if path.is_file()} - {"dataset.json"}:
        assert disk.naming(output / name) < complete, name
    for folder in ("images", "sketches", "layouts"):
        names = frozenset(os.listdir(output / folder))
        assert Synced(output / folder, names) in disk.events[:complete]
    assert any(
        isinstance(event, Synced) and event.path == output and "SHA256SUMS" in event.content  # type: ignore[operator]
        for event in disk.events[:complete]
    )


class Killed(BaseException):
    """Stands for the process ending here: nothing catches it."""


async def test_a_build_killed_between_any_two_names_never_says_complete_too_early(
    build: Build, disk: DiskSpy, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for moment in itertools.count(1):
        calls = itertools.count(1)

        def die(calls: "itertools.count[int]" = calls, moment: int = moment) -> None:
            if next(calls) == moment:
                raise Killed

        disk.before_name = die
        try:
            await build(SPEC)
            break
        except Killed:
            assert read_summary(output) is None or not verify(output)
            shutil.rmtree(output)
    assert moment > 20
    assert not verify(output)


@pytest.mark.parametrize("write", [write_atomically, write_once])
def test_a_file_is_on_the_disk_before_it_has_its_name(
    write: Callable[[Path, bytes], None], tmp_path: Path, disk: DiskSpy
) -> None:
    path = tmp_path / "file"

    write(path, b"content")

    first, second, third = disk.events
    assert isinstance(second, Named) and second.path == path
    assert first == Synced(second.source, b"content")
    assert isinstance(third, Synced) and third.path == tmp_path
    assert "file" in third.content  # type: ignore[operator]
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomically_lets_the_last_one_win(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "file", content)

    assert (tmp_path / "file").read_bytes() == b"second"


def test_write_once_lets_the_first_one_win(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        write_once(tmp_path / "file", content)

    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def link_fails(disk: DiskSpy, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes second names fail with an error number."""

    def fail(number: int) -> None:
        def refuse(source: Path, target: Path, **handles: int | None) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refuse)

    return fail


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP])
def test_where_files_have_no_second_names(
    number: int, tmp_path: Path, link_fails: Callable[[int], None]
) -> None:
    link_fails(number)

    write_once(tmp_path / "file", b"content")
    link_or_copy(tmp_path / "file", tmp_path / "copy")

    assert (tmp_path / "file").read_bytes() == (tmp_path / "copy").read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path)) == ["copy", "file"]


def test_a_full_disk_is_told_of(tmp_path: Path, link_fails: Callable[[int], None]) -> None:
    link_fails(errno.ENOSPC)

    with pytest.raises(OSError, match="No space"):
        write_once(tmp_path / "file", b"content")
    with pytest.raises(OSError, match="No space"):
        link_or_copy(tmp_path / "file", tmp_path / "copy")

    assert os.listdir(tmp_path) == []
