"""What the tests of imported checkpoints share."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from faceloom.checkpoints.import_result import Imported
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.training.runs import save_model


def served(kind: str, found: Imported, folder: Path) -> AnyHandler:
    """The handler of a service with that model, which is written to `folder`."""
    save_model(
        folder, service=kind, network=found.network, options=found.options, weights=found.weights,
        licence=found.licence or "own", sources=[], metrics={},
    )  # fmt: skip
    handler = service(kind).new_handler()
    handler.load(folder, "cpu")
    return handler


def assert_equal_output(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-4 of the range of the output."""
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4 * (theirs.max() - theirs.min())


def assert_same_tensors(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Names and numbers."""
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
