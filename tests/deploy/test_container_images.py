"""What images hold: each role runs without the packages that only others need."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from tests.deploy.rendering import ROOT

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_DOCKERFILE = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
# What is not compiled: the lines that set these variables, as the shell understands them.
_RARE = subprocess.run(
    [
        "sh",
        "-c",
        "\n".join([*re.findall(r"((?:models|rare)=.+) \\\n", _DOCKERFILE), 'echo "$rare"']),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.strip()
# The modules of the project that a pipeline service has read when it begins; packages hold a line each.
_READ = """
import json, sys
import faceloom.cli.serve_pipeline, faceloom.builds.service.server, faceloom.builds.worker
own = [module for name, module in sys.modules.items() if name.startswith("faceloom")]
print(json.dumps([module.__file__ for module in own if not hasattr(module, "__path__")]))
"""
# A command with the options that end it at once, in a Python that has not got some packages.
_WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing}))
sys.argv = ["faceloom", *{arguments}]
from faceloom.cli.main import run
run()
"""


def run_without(missing: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = _WITHOUT.format(missing=missing, arguments=list(arguments))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", ["serve", "health", "wait-closed", "fetch-archive"])
def test_a_front_needs_no_pixels_and_no_weights(command: str) -> None:
    missing = ["numpy", "PIL", "safetensors", "torch", "kubernetes"]
    done = run_without(missing, command, "--help")

    assert done.returncode == 0, done.stderr
    assert f"faceloom {command}" in done.stdout


def test_a_front_is_really_started_without_them() -> None:
    """Not only its help: the command goes on until it finds that there is no such service."""
    done = run_without(["numpy", "PIL", "safetensors", "torch"], "serve", "nobody")

    assert done.returncode == 2
    assert "no service 'nobody'" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["serve", "pipeline", "--help"], ["models", "package", "-h"]]
)
def test_the_pipeline_needs_no_torch(arguments: list[str]) -> None:
    assert run_without(["torch"], *arguments).returncode == 0


@pytest.mark.parametrize("command", ["studio", "label"])
def test_help_of_the_studio_needs_no_pixels_and_no_weights(command: str) -> None:
    missing = ["numpy", "PIL", "safetensors", "torch", "kubernetes", "obstore"]
    done = run_without(missing, command, "--help")

    assert done.returncode == 0, done.stderr
    assert f"faceloom {command}" in done.stdout


def test_the_studio_reads_pictures_without_weights() -> None:
    missing = ["safetensors", "torch", "kubernetes", "obstore"]
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import faceloom.studio.app"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def is_compiled(path: str) -> bool:
    """Whether images hold a file of the project compiled."""
    return not re.search(f"/faceloom/({_RARE})", path)


def test_what_the_pipeline_imports_is_compiled() -> None:
    done = subprocess.run([sys.executable, "-c", _READ], capture_output=True, text=True, check=True)

    assert [path for path in json.loads(done.stdout) if not is_compiled(path)] == []


def test_what_needs_torch_is_not_compiled() -> None:
    """Every image would carry it; but for the little that tells the store of torch."""
    code = ROOT / "services" / "faceloom"
    need_torch = {
        f"{file.relative_to(code)}"
        for file in code.rglob("*.py")
        if re.search(r"^(import|from) torch\b", file.read_text(), re.M)
    }

    assert {name for name in need_torch if is_compiled(f"/faceloom/{name}")} == {
        "store/registry.py",
        "store/torch_model.py",
    }


def test_requirements_of_a_role_are_the_projects() -> None:
    command = [sys.executable, "deploy/images/requirements.py"]
    printed = {
        role: subprocess.run(
            [*command, *role], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for role in [(), ("pipeline",), ("studio",), ("engine",)]
    }

    assert printed[()] == _PROJECT["dependencies"]
    extras = _PROJECT["optional-dependencies"]
    assert printed["pipeline",] == _PROJECT["dependencies"] + extras["pipeline"]
    assert printed["studio",] == _PROJECT["dependencies"] + extras["studio"]
    assert printed["engine",] == _PROJECT["dependencies"] + extras["engine"]


def test_what_is_built_is_all_that_is_sent_to_the_builder() -> None:
    """The context begins empty, so that no checkout's rubbish or secret reaches an image."""
    lines = (ROOT / ".dockerignore").read_text().split()

    assert lines[0] == "*"
