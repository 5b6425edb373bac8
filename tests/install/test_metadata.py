"""What the package says of itself: licences of what comes with it, and how a missing extra is installed."""

import json
import re
import shlex
import sys
import tomllib
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from faceloom.core import extras

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_IMAGES = ("pipeline", "engine", "studio", "tracing")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_with(lines: list[str]) -> set[str]:
    """The packages that requirements bring, and those that these bring."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            if (normal(wanted.name), extra) in found:
                continue
            found.add((normal(wanted.name), extra))
            needs = map(Requirement, distribution(wanted.name).requires or ())
            waiting += [
                need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})
            ]
    return {name for name, _ in found}


def test_every_package_of_an_image_has_its_notice() -> None:
    lines = [*PROJECT["dependencies"]]
    for extra in _IMAGES:
        lines += PROJECT["optional-dependencies"][extra]
    _, _, table = (ROOT / "THIRD_PARTY_NOTICES.md").read_text().partition("## All packages")
    noticed = {normal(word) for word in re.findall(r"[\w.-]+", table)}

    assert installed_with(lines) - noticed == set()


def test_everything_for_the_workflow_is_one_extra() -> None:
    assert PROJECT["optional-dependencies"]["all"] == [f"faceloom[{','.join(_IMAGES)}]"]


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        (None, ["faceloom[studio]==0.1.0"]),
        (
            {"url": "file:///wheels/faceloom-0.1.0-py3-none-any.whl", "archive_info": {}},
            ["faceloom[studio] @ file:///wheels/faceloom-0.1.0-py3-none-any.whl"],
        ),
        (
            {"url": "file:///home/ann/my%20faces", "dir_info": {"editable": True}},
            ["-e", "/home/ann/my faces[studio]"],
        ),
    ],
    ids=["index", "wheel", "checkout"],
)
def test_a_missing_extra_is_installed_from_where_faceloom_came(
    source: object, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.4\nName: faceloom\nVersion: 0.1.0\n")
    if source is not None:
        (tmp_path / "direct_url.json").write_text(json.dumps(source))

    def found(name: str) -> Distribution:
        return PathDistribution(tmp_path)

    monkeypatch.setattr(extras, "distribution", found)
    said, _, command = extras.how_to_install("aiohttp.web").partition(": ")

    assert said == "aiohttp is not installed; the extra studio brings it"
    assert shlex.split(command) == [sys.executable, "-m", "pip", "install", *arguments]


def test_torch_without_cuda_is_one_command_more() -> None:
    said = extras.how_to_install("torch.nn")

    assert "the extra engine brings it" in said
    assert "--torch-backend cpu torch==2.13.0)" in said
    assert "\n" not in said
