"""TorchServe's side of the contract: an archive's `handler.py` re-exports `handle` from here.

TorchServe gives each worker process one unpacked archive; the worker answers serialized EngineBatches.
"""

import json
import logging
from pathlib import Path
from typing import Any

from faceloom.common.v1 import engine_pb2
from faceloom.core.logs import log_json
from faceloom.core.tracing import start_tracing
from faceloom.runtime.archive import archived_models
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.runtime.versions import load_models

log = logging.getLogger(__name__)

_handler: AnyHandler | None = None


def handle(data: list[dict[str, bytes]] | None, context: Any) -> list[bytes]:
    """Called by TorchServe: once with None to load the models, then with one batch at a time."""
    global _handler
    if _handler is None:
        # The rest is how TorchServe's worker talks to TorchServe.
        log_json("faceloom")
        try:
            _handler = _load(context.system_properties)
        except Exception as error:
            # Here, because TorchServe says no more than that the worker died.
            log.critical("%s: %s", type(error).__name__, error, exc_info=True)
            raise
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

    folders = archived_models(Path(properties["model_dir"]))
    name = json.loads((folders[0] / "model.json").read_text())["service"]
    start_tracing(f"{name}-engine")
    gpu = properties.get("gpu_id")
    device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
    return load_models(service(name), folders, device)
