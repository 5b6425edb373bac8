"""The wheel, installed outside of the checkout on every Python of this machine that Faceloom runs on."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesParser
from pathlib import Path

import pytest
from tests.install.test_help_without_extras import ALL_HELP
from tests.install.test_metadata import PROJECT, ROOT

from faceloom.runtime.service import services

pytestmark = pytest.mark.timeout(900)

VERSIONS = ["3.11", "3.12", "3.13", "3.14"]
_LARGEST = 100e6
_TINY = {f"tiny/{service}" for service in services()}
_CLIENT = """
import asyncio
from faceloom.clients.client import Faceloom
from faceloom.generator.v1.generator_pb2 import GenerateRequest
from faceloom.core.errors import Unavailable

async def main():
    async with Faceloom.connect({"generator": "127.0.0.1:1"}) as faceloom:
        try:
            await faceloom.generate(GenerateRequest(seeds=[1]), timeout=0.2)
        except Exception as error:
            print(type(error).__name__)

asyncio.run(main())
"""
# What pip says when it reaches no index.
_NO_NETWORK = re.compile(r"connection|name resolution|Could not fetch URL|timed out", re.I)

Done = subprocess.CompletedProcess[str]


def run(*command: str | Path, cwd: Path | None = None, path: str = "") -> Done:
    """A program that sees nothing of this checkout."""
    hidden = ("PYTHON", "FACELOOM", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return subprocess.run(
        command,
        env=kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def python(version: str) -> str | None:
    """The interpreter of a version: on PATH, or one of pyenv's."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = shutil.which(f"python{version}")
    for path in (found, *root.glob(f"versions/{version}.*/bin/python{version}")):
        # Shims of pyenv are there for versions that are not chosen, and fail.
        if path and run(path, "-c", "import ensurepip").returncode == 0:
            return str(path)
    return None


def build(folder: Path) -> Path:
    """A wheel of this checkout."""
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    done = run(*pip, "--wheel-dir", folder, ROOT)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | str]:
    """By version, the folder of an environment with the base install, or why there is none."""
    folder = tmp_path_factory.mktemp("environments")

    def install(version: str) -> Path | str:
        interpreter = python(version)
        if interpreter is None:
            return f"there is no python{version} on this machine"
        made = run(interpreter, "-m", "venv", "--without-pip", folder / version)
        assert made.returncode == 0, made.stderr
        pip = (sys.executable, "-m", "pip", "--python", folder / version / "bin" / "python")
        options = ("--quiet", "--no-compile", "--constraint", ROOT / "requirements.lock")
        done = run(*pip, "install", *options, wheel)
        if done.returncode and _NO_NETWORK.search(done.stderr):
            return f"pip reaches no index: {done.stderr.strip()[-200:]}"
        assert done.returncode == 0, done.stderr
        return folder / version

    with ThreadPoolExecutor(len(VERSIONS)) as pool:
        return dict(zip(VERSIONS, pool.map(install, VERSIONS), strict=True))


@pytest.fixture(scope="module")
def dataset(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the installed package with its own models; the extras' packages are this environment's."""
    folder = tmp_path_factory.mktemp("outside")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")
    done = run(*pip, "--target", folder / "installed", wheel)
    assert done.returncode == 0, done.stderr
    size = ("--candidates", "8", "--shards", "1")
    command = (sys.executable, "-m", "faceloom.cli.main", "build", "--engine", "inprocess")
    path = str(folder / "installed")
    done = run(*command, *size, "--out", "faces", cwd=folder, path=path)
    assert done.returncode == 0, done.stderr
    assert not (folder / "installed" / "faceloom" / "model_store" / "models").exists()
    return folder / "faces"


def test_the_wheel_is_whole_and_small_enough_for_an_index(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = BytesParser().parsebytes(archive.read(metadata))
    tops = {name.partition("/")[0] for name in names}
    weights = {name for name in names if name.endswith("weights.safetensors")}

    assert wheel.stat().st_size < _LARGEST
    assert tops == {"faceloom", metadata.partition("/")[0]}
    assert weights == {f"faceloom/model_store/{path}/weights.safetensors" for path in _TINY}
    assert not [name for name in names if "/card/" in name or name.endswith(".jsonl")]
    assert said.get_all("License-File") == ["LICENSE", "THIRD_PARTY_NOTICES.md"]
    assert {name.rpartition("/")[2] for name in names} >= {"LICENSE", "THIRD_PARTY_NOTICES.md"}
    python_versions = re.findall(r"Python :: (3\.\d+)", "\n".join(said.get_all("Classifier") or []))
    assert python_versions == VERSIONS
    assert said["Version"] == PROJECT["version"]


def test_the_same_checkout_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_base_install(
    version: str,
    wheel: Path,
    environments: dict[str, Path | str],
    dataset: Path,
    tmp_path: Path,
) -> None:
    environment = environments[version]
    if isinstance(environment, str):
        pytest.skip(environment)

    def told(*command: str | Path) -> str:
        done = run(environment / "bin" / command[0], *command[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert told("faceloom", "--version") == f"faceloom {PROJECT['version']}\n"
    assert told("python", "-W", "error", "-c", ALL_HELP).count("Usage: faceloom") > 30
    models = json.loads(told("faceloom", "models", "list", "--json"))["models"]
    assert {model["path"] for model in models} == _TINY
    assert "is intact" in told("faceloom", "verify", dataset)
    assert told("python", "-W", "error", "-c", _CLIENT).strip() in (
        "Unavailable",
        "DeadlineExceeded",
    )
    command = ("build", "--candidates", "1", "--engine", "inprocess", "--out", "x")
    refused = run(environment / "bin" / "faceloom", *command, cwd=tmp_path)
    assert refused.returncode == 2
    assert f" -m pip install 'faceloom[engine] @ {wheel.as_uri()}'" in refused.stderr


def test_the_lock_and_the_build_agree_on_hatchling() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements.lock").read_text().splitlines()

    assert set(project["build-system"]["requires"]) <= set(lock)
