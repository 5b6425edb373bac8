"""The API only grows: whatever a released client sends or reads keeps its number, name and type."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The protos and what checks them."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def breaking(checkout: Path) -> str:
    """What the line of `make lint` says."""
    (command,) = re.findall(r"^\t(buf breaking .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    done = subprocess.run(
        command.split(),
        cwd=checkout,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert done.returncode in (0, 100), done.stderr
    return done.stdout


def test_the_protos_break_no_released_client(checkout: Path) -> None:
    assert breaking(checkout) == ""


@pytest.mark.parametrize(
    ("file", "was", "now", "problem"),
    [
        ("pipeline/v1/pipeline.proto", "uint32 shards = 4;", "uint32 shards = 99;", "shards"),
        ("pipeline/v1/pipeline.proto", "rpc WatchBuild(", "rpc FollowBuild(", "WatchBuild"),
        ("generator/v1/generator.proto", "repeated uint64 seeds", "repeated int64 seeds", "seeds"),
        ("common/v1/image.proto", "_FORMAT_PNG = ", "_FORMAT_PNG = 1", "ImageFormat"),
    ],
    ids=["renumbered field", "renamed method", "another type", "renumbered format"],
)
def test_what_breaks_released_clients_is_named(
    file: str, was: str, now: str, problem: str, checkout: Path
) -> None:
    path = checkout / "protos" / "faceloom" / file
    text = path.read_text()
    assert text.count(was) == 1
    path.write_text(text.replace(was, now))

    assert problem in breaking(checkout)


def test_a_new_field_breaks_nobody(checkout: Path) -> None:
    path = checkout / "protos" / "faceloom" / "quality" / "v1" / "quality.proto"
    text = path.read_text()
    path.write_text(text.replace("message Quality {", "message Quality {\n  string remark = 99;"))

    assert breaking(checkout) == ""
