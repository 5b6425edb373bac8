"""The pipeline service's process, for `faceloom serve pipeline`."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from faceloom.builds.executors.registry import executor
from faceloom.builds.service.metrics import BuildCollector
from faceloom.builds.service.records import BuildIndex
from faceloom.builds.service.registry import Builds
from faceloom.builds.service.server import SERVICE, PipelineServicer
from faceloom.clients.client import Faceloom
from faceloom.pipeline.v1.pipeline_pb2_grpc import add_PipelineServiceServicer_to_server
from faceloom.runtime.server import Server, until_stopped

_WATCHERS_GRACE_SECONDS = 1.0


async def serve_pipeline(listen: str, metrics_port: int | None, state: Path, by: str) -> None:
    """Serves until the process is asked to stop.

    Args:
        listen: Where.
        metrics_port: For Prometheus, if anywhere.
        state: The index of builds.
        by: The name of the executor that makes builds.

    Raises:
        UsageError: There is no such executor, or it cannot be used here.
    """
    registry = CollectorRegistry()
    server = Server(SERVICE, listen, registry, metrics_port)
    async with Faceloom.connect(wait=0) as faceloom:
        builds = Builds(BuildIndex(state), executor(by, faceloom))
        registry.register(BuildCollector(builds.newest_first))
        add_PipelineServiceServicer_to_server(PipelineServicer(builds), server.grpc)
        await builds.start()
        await server.start()
        await server.set_ready(True)
        await until_stopped()
        # Builds are taken up by the next process; whoever watches is told to come back.
        await builds.stop()
        await server.stop(_WATCHERS_GRACE_SECONDS)
