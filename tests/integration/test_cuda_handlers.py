"""On a GPU every service answers what it answers on the CPU, and the same request the same bytes."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from tests import samples

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service
from faceloom.store.profile import model_folder
from faceloom.store.torch_model import available_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

# Share of the outputs' range that TF32 may cost, in which cuDNN computes; 0.012 was seen on an H200.
TOLERANCE = 0.02
HandlerOf = Callable[[str], AnyHandler]


@cache
def on_gpu(name: str) -> AnyHandler:
    handler = service(name).new_handler()
    handler.load(model_folder("tiny", name), available_device())
    return handler


def answer(handler: AnyHandler, name: str, *numbers: int) -> list[bytes]:
    """The items of one call."""
    call = engine_pb2.EngineCall(
        method=samples.METHODS[name], request=samples.request(name, *numbers).SerializeToString()
    )
    (result,) = run_batch(handler, engine_pb2.EngineBatch(calls=[call])).results
    assert result.WhichOneof("outcome") == "response", result.error
    return samples.items(name, result.response)


@pytest.mark.parametrize("name", samples.METHODS)
def test_a_gpu_computes_what_the_cpu_does(handler_of: HandlerOf, name: str) -> None:
    request = samples.request(name, 1, 2, 3)
    for handler in (handler_of(name), on_gpu(name)):
        work = handler.decode(request)
        outputs = handler.outputs(work.key, work.samples)
        if handler.model.device == "cpu":
            expected = outputs
    assert handler.model.device == "cuda" and handler.model.processor

    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= TOLERANCE * np.ptp(theirs)


@pytest.mark.parametrize("name", samples.METHODS)
def test_the_same_request_gives_the_same_bytes(name: str) -> None:
    handler = on_gpu(name)
    numbers = range(handler.compute_batch + 1)
    first = answer(handler, name, *numbers)

    assert len(set(first)) == len(first)
    for _ in range(5):
        assert answer(handler, name, *numbers) == first


@pytest.mark.parametrize("name", [name for name in samples.METHODS if name != "translator"])
def test_an_item_does_not_depend_on_its_company(name: str) -> None:
    handler = on_gpu(name)
    size = handler.compute_batch
    together = answer(handler, name, *range(size))

    for number in range(size):
        assert answer(handler, name, number) == together[number : number + 1]
    turned = [*range(1, size), 0]
    assert answer(handler, name, *turned) == [together[number] for number in turned]
