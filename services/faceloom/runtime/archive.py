"""Writes TorchServe model archives: zip files that are the same bytes for the same content.

`torch-model-archiver` stamps the time and shares a temporary folder between builds; this does neither,
and keeps its MANIFEST.json layout.
"""

import json
import os
import zipfile
from pathlib import Path

from faceloom import __version__
from faceloom.runtime.service import Service
from faceloom.runtime.torchserve.config import render_model_config

_HANDLER = "from faceloom.runtime.torchserve.worker import handle\n\n__all__ = ['handle']\n"
# The oldest time a zip file can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)


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
    weights = description["weights"]["file"]
    members = {
        "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=2, sort_keys=True).encode(),
        "handler.py": _HANDLER.encode(),
        "model-config.yaml": render_model_config(service).encode(),
        "model.json": (model / "model.json").read_bytes(),
        weights: (model / weights).read_bytes(),
    }
    target.mkdir(parents=True, exist_ok=True)
    archive = target / f"{service.name}.mar"
    partial = archive.with_suffix(f".{os.getpid()}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
        for name, data in sorted(members.items()):
            file.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    os.replace(partial, archive)
    return archive
