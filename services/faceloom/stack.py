"""Everything on one machine: TorchServe, a front per service and the pipeline service, on loopback.

It does locally what Kubernetes does in a cluster: starts each process, looks at its health, and starts
it again when it dies. Fronts and engine are the same processes that run in pods.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faceloom.runtime.errors import FaceloomError, UsageError
from faceloom.runtime.ports import free_offset
from faceloom.runtime.service import services
from faceloom.runtime.targets import PIPELINE_PORT, Targets
from faceloom.runtime.torchserve.config import Ports
from faceloom.runtime.torchserve.process import torchserve_command

log = logging.getLogger(__name__)

METRICS_OFFSET = -1000
PIPELINE_SERVICE = "faceloom.pipeline.v1.PipelineService"
_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 20


def free_port_offset() -> int:
    """An offset at which every port of a stack is free now."""
    own = [PIPELINE_PORT, *(service.port for service in services().values())]
    return free_offset([*own, *(port + METRICS_OFFSET for port in own), *vars(Ports()).values()])


class StackError(FaceloomError):
    """The stack did not come up."""


@dataclass
class Program:
    """One process of the stack, and what is needed to start it again."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = None
    starts: list[float] = field(default_factory=list)

    async def start(self) -> None:
        """Starts it in a process group of its own, which dies with this process."""
        self.starts.append(time.monotonic())
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self.environment,
                cwd=self.log.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    async def stop(self) -> None:
        """Asks it to stop, insists after a while, and leaves no descendant behind."""
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                log.warning("did not stop in time", extra={"program": self.name})
        self.kill_group()
        await self.process.wait()

    def kill_group(self) -> None:
        """Kills what is left of its process group, for example workers that outlived TorchServe."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    @property
    def backoff(self) -> float:
        """Seconds to wait before the next start: longer when it dies again and again."""
        recent = [start for start in self.starts if time.monotonic() - start < 60]
        return min(10.0, 0.25 * float(2 ** len(recent)))


class Stack:
    """The local stack.

    Args:
        archives: Folder with one `.mar` per service; a service without one is not started.
        folder: Where logs and the pipeline's index of builds go.
        port_offset: Added to every port, so that stacks can run side by side.

    Raises:
        UsageError: This is not Linux, where processes can be told to die with their parent.
    """

    def __init__(self, archives: Path, folder: Path, port_offset: int = 0) -> None:
        if sys.platform != "linux":
            raise UsageError("faceloom up and faceloom demo need Linux")
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self._archives = archives
        self.services = {
            name: service
            for name, service in services().items()
            if (archives / f"{name}.mar").is_file()
        }
        self._offset = port_offset
        self._targets = Targets(port_offset=port_offset)
        # Unix socket paths are limited to 107 characters, so not below an arbitrary folder.
        self._scratch = Path(tempfile.mkdtemp(prefix="faceloom-"))
        self.programs: list[Program] = []

    async def start(self, within: float = 120) -> None:
        """Starts everything and returns when every service is ready.

        Raises:
            StackError: A process died at once, or was not ready in time; the message says where its log
                is.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self.programs = [self._torchserve(), *self._fronts(), self._pipeline()]
        for program in self.programs:
            await program.start()
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(self._ready(name) for name in [*self.services, "pipeline"]))
        except TimeoutError:
            raise StackError(
                f"the services were not ready within {within:.0f} s; see {self.logs}"
            ) from None

    async def supervise(self) -> None:
        """Starts again what dies, until cancelled."""
        await asyncio.gather(*(self._keep(program) for program in self.programs))

    async def stop(self) -> None:
        """Stops everything, the engine last, and removes the scratch folder."""
        for program in reversed(self.programs):
            await program.stop()
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def _keep(self, program: Program) -> None:
        while True:
            assert program.process is not None
            code = await program.process.wait()
            program.kill_group()
            log.warning("died", extra={"program": program.name, "exit_code": code})
            await asyncio.sleep(program.backoff)
            await program.start()

    async def _ready(self, name: str) -> None:
        full_name = PIPELINE_SERVICE if name == "pipeline" else self.services[name].service
        program = next(program for program in self.programs if program.name == name)
        async with grpc.aio.insecure_channel(self._targets.of(name)) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=full_name)
            while True:
                if program.process is not None and program.process.returncode is not None:
                    raise StackError(f"{name} stopped at once; see {program.log}")
                with contextlib.suppress(grpc.aio.AioRpcError):
                    answer = await stub.Check(request, timeout=5)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                await asyncio.sleep(0.2)

    def _torchserve(self) -> Program:
        command, environment = torchserve_command(
            self.services.values(), self._archives, self._scratch / "ts", self._ports
        )
        return Program("torchserve", command, environment, self.logs / "torchserve.log")

    def _fronts(self) -> list[Program]:
        ports = self._ports
        return [
            self._faceloom(
                name,
                *("serve", name, "--listen", self._targets.of(name)),
                *("--torchserve", f"127.0.0.1:{ports.grpc_inference}"),
                *("--management", f"http://127.0.0.1:{ports.management}"),
                *("--engine-metrics", f"http://127.0.0.1:{ports.metrics}/metrics"),
                *("--metrics-port", str(service.port + METRICS_OFFSET + self._offset)),
            )
            for name, service in self.services.items()
        ]

    def _pipeline(self) -> Program:
        return self._faceloom(
            "pipeline",
            *("serve", "pipeline", "--listen", self._targets.of("pipeline")),
            *("--state", str(self.folder / "builds")),
            *("--metrics-port", str(PIPELINE_PORT + METRICS_OFFSET + self._offset)),
        )

    def _faceloom(self, name: str, *arguments: str) -> Program:
        environment = {**os.environ, "FACELOOM_PORT_OFFSET": str(self._offset)}
        command = [sys.executable, "-m", "faceloom.cli.main", *arguments]
        return Program(name, command, environment, self.logs / f"{name}.log")

    @property
    def _ports(self) -> Ports:
        return Ports().moved(self._offset)


def _die_with_parent() -> None:
    """Runs in the child: a stack that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
