"""A file is replaced whole and onto the disk, or it stays as it was."""

import errno
import os
import stat
from pathlib import Path

import pytest
from tests.builds.disk_spy import DiskSpy, Named, Synced

from faceloom.core.atomic_files import replacing, sync_folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("old")
    return path


def test_the_old_file_is_there_until_the_block_ends(old: Path) -> None:
    with replacing(old) as new:
        new.write_text("new")
        assert new.parent == old.parent
        assert old.read_text() == "old"

    assert old.read_text() == "new"
    assert os.listdir(old.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there_and_nothing_else(
    old: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), replacing(old) as new:
        new.write_text("half")
        raise error

    assert old.read_text() == "old"
    assert os.listdir(old.parent) == ["file"]


def test_a_block_that_writes_nothing_replaces_nothing(old: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(old):
        pass

    assert old.read_text() == "old"


def test_what_cannot_be_renamed_is_gone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(IsADirectoryError), replacing(tmp_path / "folder") as new:
        new.write_text("new")

    assert os.listdir(tmp_path) == ["folder"]


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_when_the_block_has_ended(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskSpy()
    disk.install(monkeypatch)

    with replacing(old) as new:
        new.write_bytes(b"new")

    assert disk.events == [
        Synced(new, b"new"),
        Named(new, old),
        Synced(old.parent, frozenset({"file"})),
    ]


def test_the_last_of_two_wins(old: Path) -> None:
    with replacing(old) as first, replacing(old) as second:
        first.write_text("first")
        second.write_text("second")

    assert old.read_text() == "first"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_lets(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "file") as new:
            new.write_text("new")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_only_a_filesystem_that_cannot_wait_for_names_is_excused(
    number: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)

    try:
        sync_folder(tmp_path)
        assert not told
    except OSError as error:
        assert told and error.errno == number
