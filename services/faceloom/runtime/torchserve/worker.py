"""TorchServe's side of the contract: an archive's `handler.py` re-exports `handle` from here.

TorchServe gives each worker process one model folder; the worker answers serialized EngineBatches.
"""

import json
from pathlib import Path
from typing import Any

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.handler import AnyHandler, run_batch
from faceloom.runtime.service import service

_handler: AnyHandler | None = None


def handle(data: list[dict[str, bytes]] | None, context: Any) -> list[bytes]:
    """Called by TorchServe: once with None to load the model, then with one batch at a time."""
    global _handler
    if _handler is None:
        _handler = _load(context.system_properties)
    if data is None:
        return []
    return [
        run_batch(
            _handler, engine_pb2.EngineBatch.FromString(bytes(item["batch"]))
        ).SerializeToString()
        for item in data
    ]


def _load(properties: dict[str, Any]) -> AnyHandler:
    import torch

    folder = Path(properties["model_dir"])
    name = json.loads((folder / "model.json").read_text())["service"]
    gpu = properties.get("gpu_id")
    device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
    handler = service(name).new_handler()
    handler.load(folder, device)
    return handler
