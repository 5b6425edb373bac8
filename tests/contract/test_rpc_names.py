"""Every method of the client calls an RPC that its service has; of the pipeline's, the stub has the names."""

import inspect
import typing

import pytest

from faceloom.clients.client import Faceloom
from faceloom.runtime.service import services
from faceloom.sketch.v1 import sketch_pb2

RPCS = [
    name
    for name, method in inspect.getmembers(Faceloom, inspect.iscoroutinefunction)
    # `call` is for all services alike: it looks the RPC up.
    if not name.startswith("_") and name != "call"
]


class Recorder:
    """A caller that answers with an empty message."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str]] = []

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        self.called.append((service, method))
        return b""

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize("name", RPCS)
async def test_a_model_service_has_the_rpc_that_is_called(name: str) -> None:
    recorder = Recorder()
    method = getattr(Faceloom(recorder), name)
    types = typing.get_type_hints(method)

    answer = await method(types["request"]())

    ((service, rpc),) = recorder.called
    descriptor = services()[service].descriptor.methods_by_name[rpc]
    assert descriptor.input_type is types["request"].DESCRIPTOR
    assert descriptor.output_type is answer.DESCRIPTOR is types["return"].DESCRIPTOR


def test_every_model_service_has_a_method_of_the_client() -> None:
    assert len(RPCS) == sum(len(facts.methods) for facts in services().values())


async def test_a_request_that_a_service_does_not_take() -> None:
    request = sketch_pb2.SketchRequest()
    assert await Faceloom(Recorder()).call("sketch", request) == sketch_pb2.SketchResponse()
    with pytest.raises(TypeError, match="the quality service takes no"):
        await Faceloom(Recorder()).call("quality", request)
