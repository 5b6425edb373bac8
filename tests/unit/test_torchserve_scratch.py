"""Where TorchServe writes, given what TMPDIR names."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faceloom.core.errors import UsageError
from faceloom.runtime.torchserve.scratch import check_socket_path, scratch


def made(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> Path:
    monkeypatch.setenv("TMPDIR", str(temporary))
    with scratch(0) as folder:
        return folder


def test_it_lies_in_tmpdir(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, Path("/var/tmp")).parent == Path("/var/tmp")


@pytest.mark.parametrize("name", ["x" * 100, "jürgen", "日本", "a b", "a:b"])
def test_paths_that_torchserve_cannot_have_are_avoided(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()

    folder = made(monkeypatch, tmp_path / name)

    assert folder.parent == Path("/tmp")
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
    with pytest.raises(UsageError) as caught, scratch(0):
        pass

    assert str(caught.value).startswith(f"TMPDIR={place} {cause}")


def test_too_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    with (
        pytest.raises(
            UsageError, match=r"^TMPDIR=/tmp has \d+ MB free, and 1048608 MB are needed;"
        ),
        scratch(2**40),
    ):
        pass


def test_a_full_disk(tmp_path: Path) -> None:
    """Played by a limit on the size of files."""
    program = "from faceloom.runtime.torchserve.scratch import scratch; scratch(0).__enter__()"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; ulimit -f 0; exec {sys.executable} -B -c '{program}'"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"UsageError: TMPDIR={tmp_path} cannot be written: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


_HOLDING = """
from faceloom.runtime.torchserve.scratch import scratch
with scratch(0) as folder:
    print(folder, flush=True)
    input()
"""


def holding() -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        foreign = Path(place, "faceloom-foreign")
        foreign.mkdir()
        killed, left = holding()
        killed.kill()
        killed.communicate()
        alive, used = holding()
        assert left != used and not left.exists()
        Path(used, "content").touch()

        with scratch(0) as own:
            assert set(Path(place).iterdir()) == {foreign, used, own}
            assert Path(used, "content").exists()

        alive.communicate("\n")
        assert list(Path(place).iterdir()) == [foreign]


def test_a_folder_whose_sockets_would_have_too_long_names() -> None:
    check_socket_path(Path("/tmp/torchserve"))
    with pytest.raises(
        UsageError, match=r"^--dir /x+: the path is 13 bytes too long for Unix sockets"
    ):
        check_socket_path(Path("/" + "x" * 100))
