"""Calls to an admission, and what its queue holds."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from prometheus_client import CollectorRegistry

from faceloom.common.v1 import engine_pb2
from faceloom.runtime.admission import Admission
from tests.fakes import until

# Makes one in front of an engine, with these facts of the service.
Admit: TypeAlias = Callable[..., Admission]


def submit(
    admission: Admission, request: bytes, timeout: float | None = 30, refusals: int = 0
) -> asyncio.Task[bytes]:
    call = engine_pb2.EngineCall(method="Generate", request=request)
    return asyncio.create_task(admission.submit(call, timeout, refusals))


async def queued(registry: CollectorRegistry, count: int) -> None:
    await until(lambda: registry.get_sample_value("faceloom_queue_length") == count)
