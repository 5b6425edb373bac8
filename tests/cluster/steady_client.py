"""Calls the quality service without a pause; a line on its input makes it print how that went so far.

Every call is made twice: as the project's client makes it, and on a channel that repeats nothing. What fails
on the second alone is what the client repeats for its users.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
from tests.samples import request

from faceloom.clients.client import Faceloom
from faceloom.core.errors import ServiceError
from faceloom.quality.v1 import quality_pb2_grpc
from faceloom.runtime.channel import CHANNEL_OPTIONS

_PAUSE_SECONDS = 0.05


@dataclass
class Calls:
    """How calls of one kind went."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)

    async def make(self, call: Callable[..., Awaitable[Any]]) -> None:
        """Calls for ever, one call after the other."""
        while True:
            try:
                await call(request("quality", self.answered % 16), timeout=30)
            except (ServiceError, grpc.aio.AioRpcError) as error:
                self.failed.append(repr(error))
            else:
                self.answered += 1
            await asyncio.sleep(_PAUSE_SECONDS)


async def main(target: str) -> None:
    """Until its input ends."""
    bare = [*CHANNEL_OPTIONS, ("grpc.enable_retries", 0)]
    async with (
        Faceloom.connect({"quality": target}) as faceloom,
        grpc.aio.insecure_channel(target, bare) as channel,
    ):
        calls = {"client": Calls(), "bare": Calls()}
        stub: Any = quality_pb2_grpc.QualityServiceStub(channel)
        running = [
            asyncio.create_task(calls["client"].make(faceloom.classify)),
            asyncio.create_task(calls["bare"].make(stub.Classify)),
        ]
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({name: asdict(one) for name, one in calls.items()}), flush=True)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
