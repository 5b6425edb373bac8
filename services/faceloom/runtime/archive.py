"""Writes TorchServe model archives: zip files that are the same bytes for the same content.

`torch-model-archiver` stamps the time and shares a temporary folder between builds; this does neither,
and keeps its MANIFEST.json layout.
"""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

from faceloom import __version__
from faceloom.runtime.service import Service
from faceloom.runtime.torchserve.config import render_model_config

_HANDLER = "from faceloom.runtime.torchserve.worker import handle\n\n__all__ = ['handle']\n"
# The oldest time a zip file can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 2**20


def write_archive(service: Service, model: Path, target: Path) -> Path:
    """Packs a model folder for TorchServe.

    Args:
        service: The service that will serve it.
        model: A folder with model.json and the weights it names.
        target: The folder for `<service>.mar`, which appears there at once or not at all.

    Returns:
        The archive.
    """
    description = json.loads((model / "model.json").read_text())
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": service.name,
            "modelVersion": "1.0",
            "handler": "handler.py",
            "serializedFile": description["weights"]["file"],
            "configFile": "model-config.yaml",
        },
        "archiverVersion": f"faceloom {__version__}",
    }
    members = {
        "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=2, sort_keys=True).encode(),
        "handler.py": _HANDLER.encode(),
        "model-config.yaml": render_model_config(service).encode(),
        "model.json": (model / "model.json").read_bytes(),
        description["weights"]["file"]: model / description["weights"]["file"],
    }
    target.mkdir(parents=True, exist_ok=True)
    archive = target / f"{service.name}.mar"
    partial = archive.with_suffix(f".{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
            for name, content in sorted(members.items()):
                _add(file, name, content)
        os.replace(partial, archive)
    finally:
        partial.unlink(missing_ok=True)
    return archive


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    """A member with these bytes or those of this file, which may be larger than memory."""
    member = zipfile.ZipInfo(name, _EPOCH)
    member.file_size = content.stat().st_size if isinstance(content, Path) else len(content)
    with (
        content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source,
        archive.open(member, "w") as target,
    ):
        shutil.copyfileobj(source, target, _CHUNK)
