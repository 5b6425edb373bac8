"""How a model comes into the store: written beside the versions of its name, measured, and renamed.

models/<kind>/<name>/<version>/    a whole model; until it is, its name begins with a dot
"""

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.torch import save_file
from torch import Tensor

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.images import encode
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.store.card import write_card
from faceloom.store.model import MEASURED_SIDE, Limits, Model, file_sha256, open_model
from faceloom.store.profile import IMPORTED, SAFE_NAME, model_store

_WEIGHTS: Final = "weights.safetensors"
# A call may take this share of the longest time a call may take: others wait for it.
_SHARE = 0.25
_RUNS = 2


def check_name(name: str) -> None:
    """Make sure that a model can be called so.

    Raises:
        UsageError: It cannot.
    """
    if not SAFE_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a model: use letters, digits, dots, dashes and underscores"
        )


@contextmanager
def new_version(kind: str, name: str) -> Iterator[Path]:
    """A folder to write a model into, which is gone afterwards unless `put_in_place` was called.

    Args:
        kind: Short name of the service, or `losses`.
        name: Of the model; `check_name` has passed it.
    """
    versions = model_store() / IMPORTED / kind / name
    partial = versions / f".{uuid.uuid4().hex}.partial"
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            versions.rmdir()  # only if nothing is in it


def write_model(
    folder: Path,
    *,
    kind: str,
    network: Mapping[str, Any],
    options: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    licence: str,
    sources: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Write the weights and `model.json` into a folder that `new_version` gave."""
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / _WEIGHTS)
    _describe(folder, {
        "service": kind,
        "name": folder.parent.name,
        "version": "0",
        "network": dict(network),
        "options": dict(options),
        "weights": {"file": _WEIGHTS, "sha256": file_sha256(folder / _WEIGHTS)},
        "license": licence,
        "sources": list(sources),
        "metrics": dict(metrics or {}),
    })  # fmt: skip


def prove(folder: Path, kind: str) -> None:
    """Load the model as a worker would, and write down how much may be asked of it at a time.

    Raises:
        FaceloomError: It fails to compute.
    """
    facts = service(kind)
    handler = facts.new_handler()
    handler.load(folder, "cpu")
    seconds = min(_cpu_seconds(handler) for _ in range(_RUNS))
    fitting = int(facts.max_seconds * _SHARE / max(seconds, 1e-6))
    limits = Limits(
        seconds_per_item=round(seconds, 4), max_items=max(1, min(facts.max_items, fitting))
    )
    described = json.loads((folder / "model.json").read_text())
    _describe(folder, described | {"limits": limits.model_dump()})


def put_in_place(folder: Path, notes: Sequence[str]) -> Model:
    """Give the model the next free version number, and a card.

    Args:
        folder: That `new_version` gave, with a model.
        notes: What is to be said of it, on the card too; a sentence each.

    Raises:
        FaceloomError: Another process just took the number.
    """
    versions = folder.parent
    taken = [int(path.name) for path in versions.iterdir() if path.name.isdecimal()]
    final = versions / str(max(taken, default=0) + 1)
    described = json.loads((folder / "model.json").read_text())
    _describe(folder, described | {"version": final.name, "notes": list(notes)})
    write_card(open_model(folder))
    try:
        folder.rename(final)
    except OSError:
        raise FaceloomError(f"{final} has just been made by another command; try again") from None
    return open_model(final)


def _cpu_seconds(handler: AnyHandler) -> float:
    """What one item takes of a processor, in a chunk that is full.

    Unlike what a clock shows, that does not depend on what else the machine does meanwhile.

    Raises:
        FaceloomError: It fails.
    """
    request = handler.sample_request()
    items = 1
    if "images" in request.DESCRIPTOR.fields_by_name:
        items = handler.compute_batch
        grey = np.full((MEASURED_SIDE, MEASURED_SIDE, 3), 128, np.uint8)
        request = handler.request_type(images=[encode(grey, image_pb2.IMAGE_FORMAT_RGB8)] * items)
    (method,) = handler.service.methods
    call = engine_pb2.EngineCall(method=method, request=request.SerializeToString())
    started = time.process_time()
    answer = run_batch(handler, engine_pb2.EngineBatch(calls=[call]))
    seconds = time.process_time() - started
    if answer.results[0].WhichOneof("outcome") != "response":
        raise FaceloomError(f"the {handler.service.name} model fails to compute")
    return seconds / items


def _describe(folder: Path, description: Mapping[str, Any]) -> None:
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / "model.json").write_text(text)
