"""All model services inside one process: no server, no port, the same bytes.

The path is a front's path from the queue inwards: the same admission, the same batches, the same
handlers. Only gRPC and TorchServe are missing. Like a worker of TorchServe, it computes on a GPU where there
is one.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from faceloom.common.v1 import engine_pb2
from faceloom.core.errors import FailedPrecondition
from faceloom.core.tracing import calling
from faceloom.runtime.admission import Admission
from faceloom.runtime.engine import InProcessEngine
from faceloom.runtime.metrics import FrontMetrics
from faceloom.runtime.service import service, services
from faceloom.store.profile import model_folders, profile_services
from faceloom.store.torch_model import available_device


class InProcessCaller:
    """A `faceloom.clients.client.Caller` that loads a service's models when it is first called.

    Args:
        profile: Whose models.
        models: Folders of models that are loaded instead of the profile's, by service.
    """

    def __init__(self, profile: str = "tiny", models: Mapping[str, Path] | None = None) -> None:
        self._profile = profile
        self._models = models or {}
        self._loading = {name: asyncio.Lock() for name in services()}
        self._admissions: dict[str, Admission] = {}

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        """See `clients.client.Caller`. There is no deadline: on a slow machine an answer takes its time."""
        async with self._loading[service]:
            if service not in self._admissions:
                self._admissions[service] = await self._load(service)
        call = engine_pb2.EngineCall(method=method, request=request)
        with calling(services()[service].service, method):
            return await self._admissions[service].submit(call, None)

    async def close(self) -> None:
        """Ends the models' threads."""
        await asyncio.gather(*(admission.close() for admission in self._admissions.values()))

    async def _load(self, name: str) -> Admission:
        if name in self._models:
            folders = [self._models[name]]
        elif name in profile_services(self._profile):
            folders = model_folders(self._profile, name)
        else:
            raise FailedPrecondition(
                f"profile {self._profile} has no {name} model", reason="MODEL_NOT_LOADED"
            )
        engine = await asyncio.to_thread(
            InProcessEngine.load, service(name), folders, available_device()
        )
        return Admission(service(name), engine, FrontMetrics(CollectorRegistry(), service(name)))
