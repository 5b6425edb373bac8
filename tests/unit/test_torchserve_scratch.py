"""Where TorchServe writes, given what TMPDIR names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faceloom.core.errors import UsageError
from faceloom.runtime.torchserve.scratch import check_socket_path, make_scratch


def made(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> Path:
    monkeypatch.setenv("TMPDIR", str(temporary))
    scratch = make_scratch(0)
    scratch.rmdir()
    return scratch


def test_it_lies_in_tmpdir(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, Path("/var/tmp")).parent == Path("/var/tmp")


@pytest.mark.parametrize("name", ["x" * 100, "jürgen", "日本", "a b", "a:b"])
def test_paths_that_torchserve_cannot_have_are_avoided(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()

    scratch = made(monkeypatch, tmp_path / name)

    assert scratch.parent == Path("/tmp")
    assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        ("/nowhere/at/all", "cannot be written: No such file or directory"),
        ("/proc", "cannot be written: "),
        (__file__, "cannot be written: Not a directory"),
    ],
)
def test_what_tmpdir_must_not_name(place: str, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", place)
    with pytest.raises(UsageError) as caught:
        make_scratch(0)

    assert str(caught.value).startswith(f"TMPDIR={place} {cause}")


def test_too_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    with pytest.raises(
        UsageError, match=r"^TMPDIR=/tmp has \d+ MB free, and 1048608 MB are needed;"
    ):
        make_scratch(2**40)


def test_a_full_disk(tmp_path: Path) -> None:
    """Played by a limit on the size of files."""
    program = "from faceloom.runtime.torchserve.scratch import make_scratch; make_scratch(0)"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; ulimit -f 0; exec {sys.executable} -B -c '{program}'"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"UsageError: TMPDIR={tmp_path} cannot be written: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_sockets_would_have_too_long_names() -> None:
    check_socket_path(Path("/tmp/torchserve"))
    with pytest.raises(
        UsageError, match=r"^--dir /x+: the path is 13 bytes too long for Unix sockets"
    ):
        check_socket_path(Path("/" + "x" * 100))
