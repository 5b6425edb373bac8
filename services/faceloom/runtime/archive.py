"""Writes TorchServe model archives: zip files that are the same bytes for the same content.

`torch-model-archiver` stamps the time and shares a temporary folder between builds; this does neither,
and keeps its MANIFEST.json layout.
"""

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from faceloom import __version__
from faceloom.core.atomic_files import replacing
from faceloom.runtime.service import Service
from faceloom.runtime.torchserve.config import render_model_config

_HANDLER = "from faceloom.runtime.torchserve.worker import handle\n\n__all__ = ['handle']\n"
# The oldest time a zip file can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 2**20
# Where the models lie in an archive of several.
_MODELS = "models"


def write_archive(service: Service, models: Sequence[Path], target: Path) -> Path:
    """Packs models for TorchServe.

    Args:
        service: The service that will serve them.
        models: Folders with model.json and the weights it names; the default model first.
        target: The folder for `<service>.mar`, which appears there at once or not at all.

    Returns:
        The archive.
    """
    members: dict[str, bytes | Path] = {
        "handler.py": _HANDLER.encode(),
        "model-config.yaml": render_model_config(service).encode(),
    }
    weights = []
    for place, model in zip(_places(len(models)), models, strict=True):
        file = json.loads((model / "model.json").read_text())["weights"]["file"]
        members |= {f"{place}model.json": model / "model.json", f"{place}{file}": model / file}
        weights.append(f"{place}{file}")
    members["MAR-INF/MANIFEST.json"] = _manifest(service, weights[0])

    target.mkdir(parents=True, exist_ok=True)
    archive = target / f"{service.name}.mar"
    with replacing(archive) as new, zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(members.items()):
            _add(file, name, content)
    return archive


def archived_models(folder: Path) -> list[Path]:
    """The model folders of an archive that TorchServe has unpacked into `folder`, the default first."""
    if (folder / "model.json").is_file():
        return [folder]
    return sorted((folder / _MODELS).iterdir(), key=lambda model: int(model.name))


def _places(count: int) -> list[str]:
    """What the members of each model begin with: a lone model lies at the top."""
    return [""] if count == 1 else [f"{_MODELS}/{number}/" for number in range(1, count + 1)]


def _manifest(service: Service, weights: str) -> bytes:
    """MAR-INF/MANIFEST.json; `weights` is the member that TorchServe takes for the model."""
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": service.name,
            "modelVersion": "1.0",
            "handler": "handler.py",
            "serializedFile": weights,
            "configFile": "model-config.yaml",
        },
        "archiverVersion": f"faceloom {__version__}",
    }
    return json.dumps(manifest, indent=2, sort_keys=True).encode()


def _add(archive: zipfile.ZipFile, name: str, content: bytes | Path) -> None:
    """A member with these bytes or those of this file, which may be larger than memory."""
    member = zipfile.ZipInfo(name, _EPOCH)
    member.file_size = content.stat().st_size if isinstance(content, Path) else len(content)
    with (
        content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source,
        archive.open(member, "w") as target,
    ):
        shutil.copyfileobj(source, target, _CHUNK)
