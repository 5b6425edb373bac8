"""How tests call the pipeline service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from grpc_status import rpc_status
from tests.builds.fake_services import FakeServices
from tests.builds.served import served

from faceloom.core.errors import (
    ServiceError,
    from_status,
)
from faceloom.pipeline.v1 import pipeline_pb2 as pb
from faceloom.pipeline.v1 import pipeline_pb2_grpc


@asynccontextmanager
async def serving(state: Path, services: FakeServices | None = None) -> AsyncIterator[Any]:
    """A stub of a service that runs as long as the block."""
    async with served(state, services or FakeServices()) as port, connected(port) as stub:
        yield stub


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pipeline_pb2_grpc.PipelineServiceStub(channel)


def order(folder: object, request_id: str = "one", **fields: Any) -> pb.CreateBuildRequest:
    given = {"requestId": request_id, "output": str(folder), "spec": {"candidates": 130}}
    return ParseDict(given | fields, pb.CreateBuildRequest())


async def ended(stub: Any, build_id: str) -> pb.Build:
    """The build as it ended."""
    return [answer.build async for answer in stub.WatchBuild(pb.WatchBuildRequest(id=build_id))][-1]


async def refusal(call: Any) -> ServiceError:
    """The error that a call ends in."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    return from_status(status)


class Gate:
    """Lets the generator work until it was called so often, then holds it."""

    def __init__(self, calls: int) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self._calls = calls

    async def __call__(self, service: str, calls: int) -> None:
        if service == "generator" and calls > self._calls:
            self.reached.set()
            await self.open.wait()
