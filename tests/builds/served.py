"""The pipeline service over fake model services: inside a test, or as a process of its own to be killed.

As a process: `python -m tests.builds.served STATE`; prints the port it listens on.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from tests.builds.fake_services import FakeServices

from faceloom.builds.executors.executor import Executor
from faceloom.builds.executors.local import LocalExecutor
from faceloom.builds.service.metrics import BuildCollector
from faceloom.builds.service.records import BuildIndex
from faceloom.builds.service.registry import Builds
from faceloom.builds.service.server import SERVICE, PipelineServicer
from faceloom.pipeline.v1.pipeline_pb2_grpc import add_PipelineServiceServicer_to_server
from faceloom.runtime.server import Server


@asynccontextmanager
async def served(
    state: Path,
    services: FakeServices,
    executor: Executor | None = None,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[int]:
    """The port of a service that runs as long as the block."""
    builds = Builds(BuildIndex(state), executor or LocalExecutor(services.client()))
    registry = registry or CollectorRegistry()
    registry.register(BuildCollector(builds.newest_first))
    server = Server(SERVICE, "127.0.0.1:0", registry, None)
    add_PipelineServiceServicer_to_server(PipelineServicer(builds), server.grpc)
    await builds.start()
    await server.start()
    try:
        yield server.port
    finally:
        await builds.stop()
        await server.stop(grace=1.0)


async def main() -> None:
    async with served(Path(sys.argv[1]), FakeServices()) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
