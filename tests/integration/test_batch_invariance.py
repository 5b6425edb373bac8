"""The promise that the bytes of a build rest on: a request gives the same bytes whatever it shares the
engine with, at every place of a chunk, in any company, through gRPC or without it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests import rpc, samples

from faceloom.clients.in_process import InProcessCaller
from faceloom.common.v1 import engine_pb2
from faceloom.generator.v1 import generator_pb2 as gen
from faceloom.quality.network import MixNetS
from faceloom.runtime.batch import run_batch
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.front import Front
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import service, services
from faceloom.store.profile import model_folder
from faceloom.store.torch_model import ready_network

HandlerOf = Callable[[str], AnyHandler]


def batch(handler: AnyHandler, name: str, *requests: Any) -> list[bytes]:
    """The responses to requests that were coalesced into one engine batch."""
    calls = [
        engine_pb2.EngineCall(method=samples.METHODS[name], request=request.SerializeToString())
        for request in requests
    ]
    results = run_batch(handler, engine_pb2.EngineBatch(calls=calls)).results
    assert [result.WhichOneof("outcome") for result in results] == ["response"] * len(requests)
    return [result.response for result in results]


def alone(handler: AnyHandler, name: str, numbers: range) -> dict[int, bytes]:
    """The item of every number, computed in a call of its own."""
    return {
        number: samples.items(name, batch(handler, name, samples.request(name, number))[0])[0]
        for number in numbers
    }


def shown(output: Any) -> list[str]:
    """What a network made of one sample, picture by picture."""
    parts = output if isinstance(output, list) else [output]
    return [repr(np.asarray(getattr(part, "pixels", part)).tolist()) for part in parts]


def test_no_service_is_left_out() -> None:
    assert samples.METHODS.keys() == services().keys()


@pytest.mark.parametrize("name", samples.METHODS)
def test_an_item_does_not_depend_on_its_place_in_a_chunk(handler_of: HandlerOf, name: str) -> None:
    handler = handler_of(name)
    size = max(2, handler.compute_batch)
    lonely = alone(handler, name, range(size))

    for turn in range(size):
        order = [(turn + place) % size for place in range(size)]
        (answer,) = batch(handler, name, samples.request(name, *order))
        assert samples.items(name, answer) == [lonely[number] for number in order]


@pytest.mark.parametrize("name", samples.METHODS)
def test_an_item_does_not_depend_on_how_many_are_asked_for(
    handler_of: HandlerOf, name: str
) -> None:
    handler = handler_of(name)
    most = handler.compute_batch + 3
    lonely = alone(handler, name, range(most))

    for count in range(1, most + 1):
        (answer,) = batch(handler, name, samples.request(name, *range(count)))
        assert samples.items(name, answer) == [lonely[number] for number in range(count)]


@pytest.mark.parametrize("name", samples.METHODS)
def test_a_call_does_not_depend_on_the_calls_it_is_coalesced_with(
    handler_of: HandlerOf, name: str
) -> None:
    handler = handler_of(name)
    requests = [
        samples.request(name, 3),
        samples.request(name, 1, 2, 5),
        samples.request(name, 5, 3),
        samples.request(name, 7),
    ]
    apart = [batch(handler, name, request)[0] for request in requests]

    assert batch(handler, name, *requests) == apart
    assert batch(handler, name, *reversed(requests)) == apart[::-1]


@pytest.mark.parametrize("name", samples.METHODS)
def test_different_inputs_give_different_outputs(handler_of: HandlerOf, name: str) -> None:
    # Without this, the tests of sameness would pass for a model that answers a constant.
    handler = handler_of(name)
    work = handler.decode(samples.request(name, *range(handler.compute_batch)))
    outputs = handler.predict(work.key, work.samples)
    other = handler.decode(samples.request(name, *range(100, 100 + len(outputs))))
    others = handler.predict(other.key, other.samples)

    everything = [part for output in [*outputs, *others] for part in shown(output)]
    assert len(set(everything)) == len(everything) == 2 * handler.compute_batch


@pytest.mark.parametrize(
    "fields",
    [
        {"truncation_psi": 0.0},
        {"truncation_psi": 1.0},
        {"truncation_psi": 1.5, "truncation_cutoff": 4},
        {"noise_mode": gen.NOISE_MODE_RANDOM},
        {"noise_mode": gen.NOISE_MODE_NONE},
        {"return_latents": True},
    ],
)
def test_a_face_does_not_depend_on_company_in_any_mode(
    handler_of: HandlerOf, fields: dict[str, Any]
) -> None:
    handler = handler_of("generator")
    together = gen.GenerateRequest(seeds=range(11), **fields)
    apart = [gen.GenerateRequest(seeds=[seed], **fields) for seed in range(11)]

    (whole,) = batch(handler, "generator", together)
    answers = batch(handler, "generator", *apart, gen.GenerateRequest(seeds=range(3)))

    singles = [samples.items("generator", answer)[0] for answer in answers[:-1]]
    assert samples.items("generator", whole) == singles


def test_pictures_of_different_sizes_may_share_a_call(handler_of: HandlerOf) -> None:
    sizes = [(64, 64), (256, 256), (300, 200), (17, 90)]
    pictures = [
        samples.raw(samples.face(number, max(48, width), max(48, height))[:height, :width])
        for number, (width, height) in enumerate(sizes)
    ]
    for name in samples.IMAGE_SERVICES:
        handler = handler_of(name)
        (whole,) = batch(handler, name, samples.with_images(name, *pictures))
        apart = [batch(handler, name, samples.with_images(name, one))[0] for one in pictures]
        assert samples.items(name, whole) == [samples.items(name, one)[0] for one in apart]


@pytest.mark.parametrize("name", samples.METHODS)
async def test_grpc_and_the_direct_call_give_the_same_bytes(
    handler_of: HandlerOf, name: str
) -> None:
    request = samples.request(name, 1, 2, 3)
    (direct,) = batch(handler_of(name), name, request)

    front = Front(service(name), InProcessEngine(handler_of(name)), "127.0.0.1:0")
    await front.start()
    async with rpc.connect(front.port) as channel:
        over_grpc = await rpc.call(channel, name, request)
    await front.stop(grace=1)
    caller = InProcessCaller()
    in_process = await caller.call(name, samples.METHODS[name], request.SerializeToString(), 60)
    await caller.close()

    assert over_grpc == direct
    assert in_process == direct


def test_a_model_loaded_twice_gives_the_same_bytes(handler_of: HandlerOf) -> None:
    again = service("generator").new_handler()
    again.load(model_folder("tiny", "generator"), "cpu")

    request = samples.request("generator", 1, 2)
    assert batch(again, "generator", request) == batch(
        handler_of("generator"), "generator", request
    )


def test_the_number_of_threads_is_one_as_in_a_worker(handler_of: HandlerOf) -> None:
    handler_of("generator")

    assert torch.get_num_threads() == 1


def test_a_trained_quality_network_does_not_see_the_place_in_a_chunk() -> None:
    # The handler rounds scores, which hides most differences of the last bits, but not all of them.
    torch.manual_seed(0)
    network = MixNetS(num_classes=2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    # Statistics of real activations, so that the answers depend on the picture.
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, 96, 96))
    # Laid out as weights of a model folder are.
    weights = network.to(memory_format=torch.channels_last).state_dict()
    network = ready_network(MixNetS, {"num_classes": 2}, weights, "cpu")
    size = service("quality").compute_batch.cpu
    pictures = torch.randn(4 * size, 3, 96, 96)

    with torch.inference_mode():
        seen: dict[int, set[bytes]] = {}
        for _ in range(12):
            chosen = torch.randperm(len(pictures))[:size]
            for number, scores in zip(chosen.tolist(), network(pictures[chosen]), strict=True):
                seen.setdefault(number, set()).add(scores.numpy().tobytes())

    assert len({next(iter(answers)) for answers in seen.values()}) > size
    assert all(len(answers) == 1 for answers in seen.values())
