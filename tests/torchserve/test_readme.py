"""The README's commands, run as they are printed."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.torchserve


def blocks(language: str) -> list[str]:
    section = README.partition("## Five things to do next")[2]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def environment(port_offset: int) -> dict[str, str]:
    return {**os.environ, "FACELOOM_PORT_OFFSET": str(port_offset)}


def datasets_shown(folder: Path, port_offset: int) -> list[str]:
    """By a studio that is started in that folder and stopped again."""
    command = [sys.executable, "-m", "faceloom.cli.main", "studio", "--port", "0"]
    studio = subprocess.Popen(
        command, cwd=folder, env=environment(port_offset), stdout=subprocess.PIPE, text=True
    )
    assert studio.stdout is not None
    try:
        address = studio.stdout.readline().strip()
        with urllib.request.urlopen(f"{address}/api/datasets", timeout=30) as answer:
            return [one["name"] for one in json.load(answer)["datasets"]]
    finally:
        studio.terminate()
        studio.wait(30)
        studio.stdout.close()


def test_shell_commands_do_what_they_say(stack, tmp_path: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert lines[0] == ".venv/bin/faceloom up"
    for line in lines[1:]:
        if line == ".venv/bin/faceloom studio":
            assert datasets_shown(tmp_path, stack.port_offset) == ["kept", "best", "faces"]
            continue
        command = line.replace(".venv/bin/faceloom", f"{sys.executable} -m faceloom.cli.main")
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=environment(stack.port_offset),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert len(list((tmp_path / "out/seeds").glob("*.png"))) == 16
    assert len(list((tmp_path / "out/kept/images").glob("*.png"))) == 32
    assert (tmp_path / "out/sketches/seed0000003.png").is_file()
    assert (tmp_path / "out/layouts/seed0000003.png").is_file()
    page = (tmp_path / "out/kept.html").read_text()
    assert "Rejected faces" in page
    assert "From sketches" in page and "From layouts" in page


def test_the_python_example_prints_a_line_per_face(stack, tmp_path: Path) -> None:
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=environment(stack.port_offset),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert re.fullmatch(r"(\d+ [\d.e-]+ (True|False)\n){8}", done.stdout)
