"""Everything on one machine: TorchServe, a front per service and the pipeline service, on loopback.

It does locally what Kubernetes does in a cluster: starts each process, looks at its health, and starts
it again when it dies. Fronts and engine are the same processes that run in pods.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from faceloom.core.errors import FaceloomError, UsageError
from faceloom.core.proxies import channel_options
from faceloom.runtime.diagnosis import why_it_died
from faceloom.runtime.limits import check_memory, raise_file_limit
from faceloom.runtime.listening import LOOPBACK, check_free, in_use, is_free
from faceloom.runtime.ports import check_offset, free_offset, metrics_port
from faceloom.runtime.program import Program
from faceloom.runtime.service import services
from faceloom.runtime.targets import PIPELINE_PORT, PIPELINE_SERVICE
from faceloom.runtime.torchserve.config import Ports
from faceloom.runtime.torchserve.diagnosis import worker_that_died
from faceloom.runtime.torchserve.process import torchserve_command
from faceloom.runtime.torchserve.scratch import scratch

log = logging.getLogger(__name__)

# Where clients look for services is not where a stack listens.
CLIENTS_ENVIRONMENT = ("FACELOOM_HOST", "FACELOOM_TARGETS")

_LOOK_SECONDS = 0.2
# What a process has taken when it is ready, measured with the tiny models: TorchServe, a front or the
# pipeline, a worker without its model.
_ENGINE_BYTES, _FRONT_BYTES, _WORKER_BYTES = 200 * 2**20, 30 * 2**20, 180 * 2**20


def free_port_offset() -> int:
    """An offset at which every port of a stack is free now."""
    return free_offset(_own_ports().values(), Ports().listening)


def check_ports(offset: int) -> None:
    """Makes sure that a stack can listen at that offset, whatever it serves.

    Raises:
        UsageError: No stack can have that offset.
        FaceloomError: A port is taken; says by whom.
    """
    check_offset(offset)
    own = [port + offset for port in _own_ports().values()]
    metrics = [metrics_port(port, offset) for port in _own_ports().values()]
    check_free([*own, *Ports().moved(offset).listening, *metrics])


class StackError(FaceloomError):
    """The stack did not come up."""


class Stack:
    """The local stack.

    Args:
        archives: Folder with one `.mar` per service; a service without one is not started.
        folder: Where logs and the pipeline's index of builds go.
        port_offset: Moves every port, so that stacks can run side by side.

    Raises:
        UsageError: This is not Linux, where processes can be told to die with their parent.
    """

    def __init__(self, archives: Path, folder: Path, port_offset: int = 0) -> None:
        if sys.platform != "linux":
            raise UsageError("faceloom up and faceloom demo need Linux")
        self.folder = folder.absolute()
        self.logs = self.folder / "logs"
        self._archives = archives
        self.services = {
            name: service
            for name, service in services().items()
            if (archives / f"{name}.mar").is_file()
        }
        self._offset = port_offset
        self._held = contextlib.ExitStack()
        self._was_ready = False
        self.programs: list[Program] = []

    @property
    def targets(self) -> dict[str, str]:
        """Where each service listens."""
        own = _own_ports()
        return {name: self._address(own[name]) for name in [*self.services, "pipeline"]}

    async def start(self, within: float = 300) -> None:
        """Starts everything and returns when every service is ready.

        Raises:
            UsageError: The folder, the offset or `TMPDIR` cannot be used.
            FaceloomError: A port is taken, or the machine's limits are too low.
            StackError: A process died, a model cannot be loaded, or a service was not ready in time; the
                message says why, and where its log is.
        """
        check_ports(self._offset)
        self._held.enter_context(_claim(self._offset))
        raise_file_limit()
        sizes = [(self._archives / f"{name}.mar").stat().st_size for name in self.services]
        check_memory(
            _ENGINE_BYTES
            + _FRONT_BYTES * (len(sizes) + 1)
            + sum(_WORKER_BYTES + size for size in sizes)
        )
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--dir {self.folder} cannot be written: {error.strerror}") from None
        folder = self._held.enter_context(scratch(sum(sizes)))
        self.programs = [self._torchserve(folder / "ts"), *self._fronts(), self._pipeline()]
        for program in self.programs:
            await program.start()
        await self._until_ready(within)
        self._was_ready = True

    async def supervise(self) -> None:
        """Starts again what dies, until cancelled."""
        await asyncio.gather(*(self._keep(program) for program in self.programs))

    async def stop(self) -> None:
        """Stops everything, the engine last; at once where nobody can have called yet."""
        if self._was_ready:
            engine, *others = self.programs
            await asyncio.gather(*(program.stop() for program in others))
            await engine.stop()
        else:
            await asyncio.gather(*(program.kill() for program in self.programs))
        self._held.close()

    async def _until_ready(self, within: float) -> None:
        ready = {
            program.name: asyncio.create_task(self._ready(program)) for program in self.programs[1:]
        }
        everybody = asyncio.gather(*ready.values())
        trouble = asyncio.create_task(self._trouble())
        both: list[asyncio.Future[Any]] = [everybody, trouble]
        try:
            await asyncio.wait(both, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if trouble.done():
                raise StackError(trouble.result())
            late = [name for name, task in ready.items() if not task.done()]
            if late:
                raise StackError(
                    f"not ready within {within:.0f} s: {', '.join(late)}; see {self.logs}"
                )
            await everybody
        finally:
            everybody.cancel()
            trouble.cancel()
            # Until they have ended: asyncio tells of errors that nobody took.
            await asyncio.gather(*both, return_exceptions=True)

    async def _trouble(self) -> str:
        """Returns why the stack cannot become ready, as soon as that is known."""
        while True:
            for program in self.programs:
                if program.process is not None and program.process.returncode is not None:
                    await program.last_words()
                    taken = [port for port in program.ports if not is_free(port)]
                    code = program.process.returncode
                    cause = in_use(taken[0]) if taken else why_it_died(program.said, code)
                    return f"{program.name} stopped at once ({cause}); see {program.log}"
            engine = self.programs[0]
            if died := worker_that_died(engine.said):
                return f"{died}; see {engine.log}"
            await asyncio.sleep(_LOOK_SECONDS)

    async def _ready(self, program: Program) -> None:
        name = program.name
        full_name = PIPELINE_SERVICE if name == "pipeline" else self.services[name].service
        target = self.targets[name]
        async with grpc.aio.insecure_channel(target, channel_options(target)) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=full_name)
            while True:
                # Before it listens itself, another stack's service might answer in its place.
                if any(said.get("message") == "listening" for said in program.said):
                    with contextlib.suppress(grpc.aio.AioRpcError):
                        answer = await stub.Check(request, timeout=5)
                        if answer.status == health_pb2.HealthCheckResponse.SERVING:
                            return
                await asyncio.sleep(_LOOK_SECONDS)

    async def _keep(self, program: Program) -> None:
        while True:
            assert program.process is not None
            code = await program.process.wait()
            await program.kill()
            cause = why_it_died(program.said, code)
            log.warning("died", extra={"program": program.name, "exit_code": code, "cause": cause})
            await self._start_again(program)

    async def _start_again(self, program: Program) -> None:
        while True:
            await asyncio.sleep(program.backoff)
            try:
                return await program.start()
            except FaceloomError as error:
                log.warning("not started again yet", extra={"cause": str(error)})

    def _torchserve(self, folder: Path) -> Program:
        ports = Ports().moved(self._offset)
        command, environment = torchserve_command(
            self.services.values(), self._archives, folder, ports
        )
        return Program(
            *("torchserve", command, environment, self.logs / "torchserve.log"),
            folder=folder,
            ports=ports.listening,
        )

    def _fronts(self) -> list[Program]:
        ports = Ports().moved(self._offset)
        return [
            self._faceloom(
                name,
                *("--torchserve", f"{LOOPBACK}:{ports.grpc_inference}"),
                *("--management", f"http://{LOOPBACK}:{ports.management}"),
                *("--engine-metrics", f"http://{LOOPBACK}:{ports.metrics}/metrics"),
            )
            for name in self.services
        ]

    def _pipeline(self) -> Program:
        return self._faceloom("pipeline", *("--state", str(self.folder / "builds")))

    def _faceloom(self, name: str, *options: str) -> Program:
        own = _own_ports()[name]
        metrics = metrics_port(own, self._offset)
        environment = {
            **{key: value for key, value in os.environ.items() if key not in CLIENTS_ENVIRONMENT},
            "FACELOOM_PORT_OFFSET": str(self._offset),
        }
        command = [
            *(sys.executable, "-m", "faceloom.cli.main", "serve", name),
            *("--listen", self._address(own), "--metrics-port", str(metrics), *options),
        ]
        return Program(
            *(name, command, environment, self.logs / f"{name}.log"),
            folder=self.logs,
            ports=[own + self._offset, metrics],
        )

    def _address(self, port: int) -> str:
        return f"{LOOPBACK}:{port + self._offset}"


def _own_ports() -> dict[str, int]:
    """Where each service listens when the offset is 0."""
    return {
        **{name: service.port for name, service in services().items()},
        "pipeline": PIPELINE_PORT,
    }


def _claim(offset: int) -> socket.socket:
    """Held as long as a stack lives: of two that begin together, both would find the ports free.

    Raises:
        StackError: Another stack has it.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        # A name that belongs to no file, and to nobody when the process ends.
        claim.bind(f"\0faceloom-stack-{offset}")
    except OSError:
        claim.close()
        raise StackError(
            f"another faceloom up starts with --port-offset {offset} at this moment; give another one"
        ) from None
    return claim
