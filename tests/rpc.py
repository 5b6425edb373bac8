"""gRPC as a test wants it: no retries, no limits, and errors taken apart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from faceloom.runtime.service import services
from tests.samples import METHODS

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

_OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass
class Refusal:
    """What a failed call said."""

    code: str
    message: str
    reason: str | None
    field: str | None
    retry_after: float | None


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a port of this machine."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", _OPTIONS) as channel:
        yield channel


def call(
    channel: grpc.aio.Channel,
    name: str,
    request: Message | bytes,
    *,
    timeout: float | None = 30,
    metadata: Any = None,
) -> Any:
    """Calls the RPC of a service with a message, or with bytes that claim to be one."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    path = f"/{services()[name].service}/{METHODS[name]}"
    return raw(channel, path, data, timeout=timeout, metadata=metadata)


def raw(channel: grpc.aio.Channel, path: str, data: bytes, **options: Any) -> Any:
    """Calls any path with any bytes."""
    rpc: Any = channel.unary_unary(path)
    return rpc(data, **({"timeout": 30} | options))


async def refusal(rpc: Any) -> Refusal:
    """The error of a call.

    Raises:
        AssertionError: It succeeded.
    """
    try:
        answer = await rpc
    except grpc.aio.AioRpcError as error:
        return _take_apart(error)
    raise AssertionError(f"the call succeeded with {len(answer)} bytes")


def _take_apart(error: grpc.aio.AioRpcError) -> Refusal:
    taken = Refusal(error.code().name, error.details() or "", None, None, None)
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for detail in status.details if status else ():
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            assert info.domain == "faceloom"
            taken.reason = info.reason
        elif detail.Unpack(bad):
            taken.field = bad.field_violations[0].field
        elif detail.Unpack(retry):
            taken.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return taken


async def health(channel: grpc.aio.Channel, service: str) -> int:
    """The serving status of a service."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    return int(answer.status)
