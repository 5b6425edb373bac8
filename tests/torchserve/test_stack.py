"""The whole stack with a real TorchServe: the same bytes, and no kill -9 that it does not survive.

Stopping it is tested where it is stopped, at the end of the fixture `stack`.
"""

import asyncio
import contextlib
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
from tests import rpc, samples
from tests.fakes import eventually
from tests.translators import asked, labels8, layout, map_of

from faceloom.common.v1 import engine_pb2, image_pb2
from faceloom.generator.v1 import generator_pb2
from faceloom.runtime.batch import run_batch
from faceloom.runtime.handler import AnyHandler
from faceloom.runtime.service import MAX_MESSAGE_BYTES, services
from faceloom.sketch.v1 import sketch_pb2
from faceloom.store.profile import profile_services
from faceloom.translator.v1 import translator_pb2

pytestmark = [pytest.mark.torchserve, pytest.mark.asyncio(loop_scope="module")]

_RESTART_SECONDS = 90


@dataclass
class Running:
    """The stack, and what a test needs to look at it."""

    stack: Any
    channels: dict[str, grpc.aio.Channel]

    def pid(self, name: str) -> int:
        """The pid of a program of the stack."""
        process = self.stack.program(name)
        assert process is not None
        return int(process.pid)

    async def replaced(self, name: str, old: int) -> None:
        """Waits until another process is there for that program."""

        async def as_wanted() -> bool:
            process = self.stack.program(name)
            return process is not None and process.pid != old

        await eventually(as_wanted, _RESTART_SECONDS)

    async def manage(self, path: str, method: str = "GET") -> Any:
        """Asks TorchServe's management API."""
        url = f"http://127.0.0.1:{self.stack.torchserve_ports.management}{path}"
        request = urllib.request.Request(url, method=method)

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)

        return await asyncio.to_thread(ask)

    async def worker(self, name: str) -> int:
        """The pid of the model's worker."""
        (description,) = await self.manage(f"/models/{name}")
        (worker,) = description["workers"]
        return int(worker["pid"])

    async def ready(self, name: str, wanted: int = rpc.SERVING) -> None:
        """Waits until the service's health is as wanted."""

        async def as_wanted() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                status = await rpc.health(self.channels[name], services()[name].service)
                return status == wanted
            return False

        await eventually(as_wanted, _RESTART_SECONDS)

    def call(self, name: str, request: Any = None, **options: Any) -> Any:
        return rpc.call(self.channels[name], name, request or samples.request(name), **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(stack: Any) -> AsyncIterator[Running]:
    """The stack with a channel to every front."""
    async with contextlib.AsyncExitStack() as channels:
        yield Running(
            stack,
            {
                name: await channels.enter_async_context(rpc.connect(stack.port(name)))
                for name in profile_services("tiny")
            },
        )


def direct(handler: AnyHandler, name: str, request: Any) -> bytes:
    """What the handler answers in this process."""
    call = engine_pb2.EngineCall(method=samples.METHODS[name], request=request.SerializeToString())
    (result,) = run_batch(handler, engine_pb2.EngineBatch(calls=[call])).results
    return result.response


@pytest.mark.parametrize("name", samples.METHODS)
async def test_a_started_stack_is_ready(running: Running, name: str) -> None:
    assert await rpc.health(running.channels[name], services()[name].service) == rpc.SERVING


@pytest.mark.parametrize("name", samples.METHODS)
async def test_torchserve_gives_the_same_bytes_as_the_handler_in_this_process(
    running: Running, handler_of: Callable[[str], AnyHandler], name: str
) -> None:
    request = samples.request(name, *range(9))

    assert await running.call(name, request) == direct(handler_of(name), name, request)


@pytest.mark.parametrize("name", samples.METHODS)
async def test_coalesced_calls_give_the_same_bytes_as_lone_ones(
    running: Running, handler_of: Callable[[str], AnyHandler], name: str
) -> None:
    requests = [samples.request(name, number, number + 1) for number in range(12)]

    answers = await asyncio.gather(*(running.call(name, request) for request in requests))

    assert answers == [direct(handler_of(name), name, request) for request in requests]


async def test_torchserve_translates_whatever_is_asked_as_this_process_does(
    running: Running, handler_of: Callable[[str], AnyHandler]
) -> None:
    face = samples.raw(samples.face(4))
    requests = [
        asked(sketch=samples.file(samples.page(1, 300, 200)), return_latents=True),
        asked(variants=3, style_seed=2**64 - 1, truncation_psi=0.5, alpha=0.5),
        asked(style_reference=face, output_format="IMAGE_FORMAT_PNG"),
        asked(layout=map_of(labels8(layout(1)))),
        asked(layout=map_of(labels8(layout(1)), translator_pb2.LABEL_ORDER_BISENET)),
        asked(layout=map_of(labels8(layout(2))), variants=2, style_seed=1, mixed_layers=[0, 9]),
        asked(layout=map_of(labels8(layout(2))), style_reference=face),
    ]

    answers = await asyncio.gather(*(running.call("translator", request) for request in requests))

    handler = handler_of("translator")
    assert answers == [direct(handler, "translator", request) for request in requests]
    made = [item for answer in answers for item in samples.items("translator", answer)]
    assert len(set(made)) == len(made) == 10


def hostile(name: str) -> list[Any]:
    """Bad requests for the service, and garbage."""
    garbage = [b"", b"\xff" * 100, bytes(MAX_MESSAGE_BYTES + 1)]
    if name == "generator":
        return [
            *garbage,
            generator_pb2.GenerateRequest(seeds=range(10_000)),
            generator_pb2.GenerateRequest(seeds=[1], truncation_psi=float("nan")),
            generator_pb2.GenerateRequest(seeds=[1], model_version="9" * 100_000),
        ]
    png = samples.file(samples.face(1))
    truncated = image_pb2.Image(format=png.format, data=png.data[:500])
    if name == "translator":
        return [
            *garbage,
            asked(sketch=truncated),
            asked(sketch=samples.png_bomb(30_000)),
            asked(style_reference=samples.png_bomb(30_000)),
            asked(layout=map_of(labels8(layout() + 19))),
            asked(variants=10_000, style_seed=1),
            asked(style_seed=1, alpha=float("nan")),
        ]
    return [
        *garbage,
        samples.with_images(name, truncated),
        samples.with_images(name, samples.png_bomb(30_000)),
        samples.with_images(name, *[samples.raw(samples.face(1)[:16, :16])] * 100),
    ]


@pytest.mark.parametrize("name", samples.METHODS)
async def test_hostile_calls_leave_the_worker_alive(running: Running, name: str) -> None:
    good = samples.request(name)
    before, answer = await running.worker(name), await running.call(name, good)

    for request in hostile(name):
        error = await rpc.refusal(rpc.call(running.channels[name], name, request))
        assert error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED")
        assert error.field is not None

    assert await running.call(name, good) == answer
    assert await running.worker(name) == before


async def test_the_largest_requests_pass(running: Running) -> None:
    before = await running.worker("sketch")
    # 4 x 1180 x 1180 x 3 bytes, a little less than 16 MiB, and four such calls in one engine batch.
    large = samples.raw(samples.face(1, 1180, 1180))
    in_limit = samples.with_images("sketch", *[large] * 4, style=sketch_pb2.SKETCH_STYLE_CLASSICAL)
    assert 0.99 * MAX_MESSAGE_BYTES < in_limit.ByteSize() <= MAX_MESSAGE_BYTES

    answers = await asyncio.gather(*(running.call("sketch", in_limit) for _ in range(4)))

    assert len(set(answers)) == 1
    assert await running.worker("sketch") == before


async def test_everything_listens_on_loopback_only(running: Running) -> None:
    listening = {
        connection.laddr.port: connection.laddr.ip
        for process in running.stack.process.children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    ports = vars(running.stack.torchserve_ports)
    assert {port for name, port in ports.items() if name != "workers"} <= set(listening)
    assert {running.stack.port(name) for name in profile_services("tiny")} <= set(listening)
    assert {ip.removeprefix("::ffff:") for ip in listening.values()} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/models?url=http://127.0.0.1:1/evil.mar", "POST"),
        ("/models?url=generator.mar", "POST"),
        ("/models/quality", "DELETE"),
        ("/models/quality/1.0", "DELETE"),
    ],
)
async def test_nobody_may_register_or_remove_models(
    running: Running, path: str, method: str
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        await running.manage(path, method)

    with refusal.value as error:
        assert 400 <= error.code < 500
    models = await running.manage("/models?limit=100")
    assert {model["modelName"] for model in models["models"]} == set(profile_services("tiny"))


async def load(running: Running, name: str, until_done: asyncio.Event) -> list[str]:
    """Calls one after the other until told to stop: the codes, and `wrong` for wrong bytes."""
    good = samples.request(name)
    right = await running.call(name, good, timeout=_RESTART_SECONDS)
    codes = []
    while not until_done.is_set():
        try:
            answer = await running.call(name, good, timeout=_RESTART_SECONDS)
            codes.append("OK" if answer == right else "wrong")
        except grpc.aio.AioRpcError as error:
            codes.append(error.code().name)
            await asyncio.sleep(0.1)
    return codes


async def test_a_killed_worker_is_replaced_and_its_calls_are_told_to_try_again(
    running: Running,
) -> None:
    before = await running.worker("generator")
    enough = asyncio.Event()
    loads = [asyncio.create_task(load(running, "generator", enough)) for _ in range(4)]
    for _ in range(3):
        await running.call("generator")

    os.kill(before, signal.SIGKILL)
    await eventually(lambda: _another_worker(running, "generator", before), _RESTART_SECONDS)
    await running.ready("generator")
    await running.call("generator", timeout=_RESTART_SECONDS)
    enough.set()
    codes = [code for one in await asyncio.gather(*loads) for code in one]

    assert set(codes) <= {"OK", "UNAVAILABLE"}
    assert "OK" in codes
    assert await rpc.health(running.channels["quality"], services()["quality"].service) == (
        rpc.SERVING
    )


async def _another_worker(running: Running, name: str, old: int) -> bool:
    try:
        return await running.worker(name) not in (old, -1)
    except (ValueError, OSError):
        return False


async def test_a_torchserve_that_crashes_is_started_again(running: Running) -> None:
    before = running.pid("torchserve")
    workers = psutil.Process(before).children(recursive=True)
    right = await running.call("quality")

    # Java has much to say about that, in lines of its own.
    os.kill(before, signal.SIGSEGV)
    for name in samples.METHODS:
        await running.ready(name, rpc.NOT_SERVING)
        error = await rpc.refusal(running.call(name))
        assert (error.code, error.reason) == ("UNAVAILABLE", "ENGINE_DOWN")
    for name in samples.METHODS:
        await running.ready(name)

    assert running.pid("torchserve") != before
    assert not any(worker.is_running() for worker in workers)
    assert await running.call("quality") == right
    log = running.stack.logs / "torchserve.log"
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("A fatal error has been detected" in event["message"] for event in said)
    assert {file.suffix for file in running.stack.logs.iterdir()} == {".log"}


async def test_a_killed_front_is_started_again(running: Running) -> None:
    before = running.pid("segmentation")
    right = await running.call("segmentation")

    os.kill(before, signal.SIGKILL)

    await running.replaced("segmentation", before)
    await running.ready("segmentation")
    assert await running.call("segmentation") == right


async def test_a_front_that_is_asked_to_stop_answers_what_it_let_in(running: Running) -> None:
    before = running.pid("sketch")
    right = await running.call("sketch")
    calls = [asyncio.ensure_future(running.call("sketch")) for _ in range(8)]
    # The first answer shows that the engine is at work on the others.
    await calls[0]

    os.kill(before, signal.SIGTERM)

    assert await asyncio.gather(*calls) == [right] * 8
    await running.replaced("sketch", before)
    await running.ready("sketch")
    assert await running.call("sketch") == right
