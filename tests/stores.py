"""Model stores of the shipped models under other names, with other facts or other weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from faceloom.store.model import file_sha256
from faceloom.store.profile import model_folder

_TINY = {
    name: model_folder("tiny", name)
    for name in ("generator", "quality", "sketch", "segmentation", "translator")
}


def put_model(folder: Path, kind: str, **changes: Any) -> Path:
    """The shipped model of a service in another folder; `changes` replace what `model.json` says, and add to
    what it says of network and options."""
    said: dict[str, Any] = json.loads((_TINY[kind] / "model.json").read_text())
    for part in ("network", "options"):
        said[part] |= changes.pop(part, {})
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(said | changes))
    (folder / said["weights"]["file"]).symlink_to(_TINY[kind] / said["weights"]["file"])
    return folder


def put_import(store: Path, kind: str, name: str, version: str = "1", **changes: Any) -> Path:
    """The shipped model of a service as if it had been imported under that name."""
    folder = store / "models" / kind / name / version
    return put_model(folder, kind, **{"name": name, "version": version, **changes})


def change_weights(folder: Path, changes: Mapping[str, Tensor]) -> None:
    """Adds to tensors of the model in a folder, which stays intact."""
    description = json.loads((folder / "model.json").read_text())
    weights = folder / description["weights"]["file"]
    tensors = load_file(weights)
    weights.unlink()
    save_file(tensors | {name: tensors[name] + by for name, by in changes.items()}, weights)
    description["weights"]["sha256"] = file_sha256(weights)
    (folder / "model.json").write_text(json.dumps(description))
