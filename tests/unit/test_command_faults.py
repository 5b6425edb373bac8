"""What a person sees of errors that no command expected: one line, whatever went wrong."""

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.commands import Done, faceloom

from faceloom.cli import dataset
from faceloom.cli.main import run
from faceloom.store.profile import model_store


def verify(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Done:
    """`faceloom verify`, in which that happens."""

    def fail(output: object) -> None:
        raise error

    monkeypatch.setattr(dataset, "verify_dataset", fail)
    return faceloom("verify", "faces", store=model_store())


def test_a_fault_is_one_line_and_the_rest_is_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    done = verify(monkeypatch, ZeroDivisionError("division by zero\nand more"))

    (file,) = tmp_path.iterdir()
    assert done.err == (
        f"faceloom: a fault of Faceloom's, ZeroDivisionError: division by zero; {file} says where\n"
    )
    assert done.code == 1
    assert "in fail\n    raise error\n" in file.read_text()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (
            PermissionError(errno.EACCES, "Permission denied", "faces/x.png"),
            "faces/x.png: Permission denied",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/full']"),
            "there is no folder for temporary files: set TMPDIR to one that can be written",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: OSError, line: str
) -> None:
    done = verify(monkeypatch, error)

    assert (done.code, done.err) == (1, f"faceloom: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (
            ["up", "--json"],
            {"FACELOOM_PORT_OFFSET": "many"},
            "Invalid value for '--port-offset' (env var: 'FACELOOM_PORT_OFFSET'): give a valid integer;"
            " faceloom up --help says more",
        ),
        (
            ["serve", "quality"],
            {"FACELOOM_METRICS_PORT": "70000"},
            "Invalid value for '--metrics-port' (env var: 'FACELOOM_METRICS_PORT'): give less than or equal"
            " to 65535; faceloom serve --help says more",
        ),
        (["nonsense", "--json"], {}, "No such command 'nonsense'; faceloom --help says more"),
        (
            ["translate", "a.png", "--json"],
            {},
            "Missing option '--task'. Choose from: sketch, segmentation, face;"
            " faceloom translate --help says more",
        ),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    arguments: list[str],
    environment: dict[str, str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    done = faceloom(*arguments, store=model_store())

    assert (done.code, done.err) == (2, f"faceloom: {line}\n")
    assert done.out == (f"{json.dumps({'error': line})}\n" if "--json" in arguments else "")


def test_without_arguments_the_help_is_printed() -> None:
    done = faceloom(store=model_store())

    assert (done.code, done.err) == (2, "")
    assert "Usage: faceloom" in done.out


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done = verify(monkeypatch, KeyboardInterrupt())

    assert (done.code, done.err) == (130, "faceloom: interrupted\n")


def _process(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "faceloom.cli.main", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def test_output_that_nobody_reads_ends_a_command_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    process = _process("--version", stdout=write)
    os.close(write)

    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_output_to_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        process = _process("--version", stdout=full)
        _, told = process.communicate(timeout=60)

    assert (process.returncode, told) == (1, "faceloom: No space left on device\n")


def test_names_that_the_terminal_has_no_letters_for_are_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="latin-1"))
    monkeypatch.setattr(sys, "argv", ["faceloom", "verify", "\u0142\u00f3d\u017a"])
    monkeypatch.setattr(dataset, "verify_dataset", lambda output: [])

    with pytest.raises(SystemExit) as ended:
        run()

    assert ended.value.code == 0
    assert printed.getvalue() == b"\\u0142\xf3d\\u017a is intact\n"
