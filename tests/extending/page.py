"""The steps of docs/extending.md, and how they are followed in a copy of the project."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"

_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        section: The heading that it is under.
        number: Its number there.
        path: The file that it adds or changes.
        language: Of its code: `sh` are commands that make the file, a `diff` changes it, others are the file.
        code: What is in the block.
    """

    section: str
    number: int
    path: str
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.section} {self.number}: {self.path}"


def steps() -> list[Step]:
    """All steps, in their order."""
    found = []
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        for part in re.split(r"^(?=\d+\. )", section, flags=re.M)[1:]:
            named, block = re.match(r"(\d+)\. `([^`]+)`", part), _BLOCK.search(part)
            assert named and block, f"{part!r:.200} begins with no file, or has no code"
            code = dedent(block[2])
            found.append(Step(heading, int(named[1]), named[2], block[1], code))
    return found


def follow(root: Path, step: Step) -> None:
    """Do what a step says."""
    file = root / step.path
    if step.language == "sh":
        for line in step.code.splitlines():
            run(root, *_command(line))
        assert file.is_file(), f"{step} makes no such file"
    elif step.language == "diff":
        file.write_text(_patched(file.read_text(), step))
    else:
        assert not file.exists(), f"{step} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(step.code)


@contextmanager
def left_out(root: Path, step: Step) -> Iterator[None]:
    """A copy in which all steps were followed, without this one."""
    file, before = root / step.path, ROOT / step.path
    kept = file.read_bytes()
    if step.language == "diff":
        file.write_text(_patched(file.read_text(), step, reverse=True))
    elif before.is_file():
        shutil.copyfile(before, file)
    else:
        file.unlink()
    try:
        yield
    finally:
        file.write_bytes(kept)


def run(root: Path, *command: str) -> str:
    """What a command prints that runs in a copy, with its code."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{root / 'services'}:{root}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("FACELOOM_MODEL_STORE", None)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _command(line: str) -> list[str]:
    """A line of the page; of a target of the Makefile the command itself, which sets nothing up."""
    words = shlex.split(line)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        (line,) = re.findall(rf"^{words[1]}:.*\n\t(.+)$", makefile, re.M)
        words = shlex.split(line.replace("$(VENV_PYTHON)", "python"))
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def _patched(text: str, step: Step, reverse: bool = False) -> str:
    """A file's text after a diff: every hunk is found by the lines that it shows."""
    gone, come = ("+", "-") if reverse else ("-", "+")
    for hunk in re.split(r"^@@\n", step.code, flags=re.M):
        lines = [line if line else " " for line in hunk.splitlines()]
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] in (" ", gone))
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] in (" ", come))
        assert text.count(old) == 1, f"{step}: these lines are not there once:\n{old}"
        text = text.replace(old, new)
    return text
