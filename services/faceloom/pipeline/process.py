"""The pipeline service as a process: the API, the builds, and their standard surroundings."""

from pathlib import Path

from prometheus_client import CollectorRegistry

from faceloom.client import Faceloom
from faceloom.pipeline.builds import BuildIndex
from faceloom.pipeline.executors.local import LocalExecutor
from faceloom.pipeline.server import FULL_NAME, PipelineServicer
from faceloom.pipeline.v1 import pipeline_pb2_grpc
from faceloom.runtime.server import Server


class PipelineProcess:
    """Listens, and works on builds.

    Args:
        faceloom: The model services.
        state: The folder in which the service remembers its builds.
        listen: Address to listen on.
        metrics_port: Port for Prometheus; none when not given.
    """

    def __init__(
        self, faceloom: Faceloom, state: Path, listen: str, metrics_port: int | None = None
    ) -> None:
        self._executor = LocalExecutor(BuildIndex(state), faceloom)
        self._server = Server(FULL_NAME, listen, CollectorRegistry(), metrics_port)
        pipeline_pb2_grpc.add_PipelineServiceServicer_to_server(
            PipelineServicer(self._executor), self._server.grpc
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    async def start(self) -> None:
        """Takes up the builds that had not ended, then answers calls.

        Raises:
            UsageError: Another service uses the state folder.
        """
        await self._executor.start()
        await self._server.start()
        await self._server.set_ready(True)

    async def stop(self, grace: float = 1.0) -> None:
        """Ends calls, then work. Builds go on where they are when the service is started again."""
        await self._server.stop(grace)
        await self._executor.stop()
