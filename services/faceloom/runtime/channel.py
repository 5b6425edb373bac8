"""gRPC channels as Faceloom opens them: one size limit, keepalive, and no grudges."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from faceloom.core.errors import ServiceError, TooLarge, Unavailable, from_status
from faceloom.core.proxies import channel_options, host_of, proxy_variable
from faceloom.core.request_id import REQUEST_ID, carrying_request_id
from faceloom.core.tracing import calling
from faceloom.runtime.retrying import REFUSALS, UNREACHABLE, Retrying, refusals
from faceloom.runtime.service import MAX_MESSAGE_BYTES, services
from faceloom.runtime.targets import targets_at

CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    # No retry policy of gRPC's: `faceloom.runtime.retrying` also waits as long as a full queue asks for.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
]


class LastingChannel:
    """A channel to one service, as good after a day without that service as it was before.

    While a name has no address or an address does not answer, gRPC tries ever less often, every two minutes
    in the end, and refuses calls in between. So a channel that found nobody is left for a new one.

    Args:
        service: What errors call it.
        target: Where it is, as gRPC has it.
    """

    def __init__(self, service: str, target: str) -> None:
        self._service = service
        self._target = target
        self._channel = self._open()

    @contextmanager
    def for_one_call(self) -> Iterator[grpc.aio.Channel]:
        """The channel as it is now; what gRPC raises becomes an error of the tree.

        Raises:
            ServiceError: The service refused, or is not there.
        """
        channel = self._channel
        try:
            yield channel
        except grpc.aio.AioRpcError as error:
            raise self._told(error, channel) from None

    async def close(self) -> None:
        """Ends calls that are on their way."""
        await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        options = [*CHANNEL_OPTIONS, *channel_options(self._target)]
        return grpc.aio.insecure_channel(self._target, options)

    def _told(self, error: grpc.aio.AioRpcError, channel: grpc.aio.Channel) -> ServiceError:
        told = from_rpc_error(error, self._service, self._target)
        if told.reason == UNREACHABLE and channel is self._channel:
            # The old one closes itself when the last call that holds it has ended.
            self._channel = self._open()
        return told


class ChannelCaller:
    """Calls services over gRPC; a channel is opened on first use and kept.

    Args:
        targets: gRPC target by service, for those that are not where the environment says.
        port_offset: What is added to the ports of the others; the environment's offset when not given.
        retrying: What happens to calls that a service cannot take.
    """

    def __init__(
        self,
        targets: Mapping[str, str] | None = None,
        port_offset: int | None = None,
        retrying: Retrying | None = None,
    ) -> None:
        self._targets = targets_at(port_offset)
        self._targets.targets.update(targets or {})
        self._retrying = retrying or Retrying()
        self._channels: dict[str, LastingChannel] = {}

    async def call(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        """See `faceloom.clients.client.Caller`; each try has the whole `timeout`."""
        if service not in self._channels:
            self._channels[service] = LastingChannel(service, self._targets.of(service))
        return await self._retrying.call(
            service, lambda: self._send(service, method, request, timeout)
        )

    async def _send(self, service: str, method: str, request: bytes, timeout: float) -> bytes:
        name = services()[service].service
        with (
            carrying_request_id() as request_id,
            calling(name, method) as carried,
            self._channels[service].for_one_call() as channel,
        ):
            rpc: Any = channel.unary_unary(f"/{name}/{method}")
            metadata = [(REQUEST_ID, request_id), *carried.items()]
            if again := refusals():
                metadata.append((REFUSALS, str(again)))
            return cast(bytes, await rpc(request, timeout=timeout, metadata=metadata))

    async def close(self) -> None:
        """Closes the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))


def from_rpc_error(error: grpc.aio.AioRpcError, service: str, target: str) -> ServiceError:
    """The error of the tree for what gRPC raised; a service that is not there is named with its place."""
    status = rpc_status.from_call(cast(grpc.Call, error))
    if status is not None:
        return from_status(status)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(_unreachable(service, target), reason=UNREACHABLE)
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC's own limit; a front's refusals carry a status.
        return TooLarge(f"{service}: {error.details()}")
    return from_status(
        status_pb2.Status(code=error.code().value[0], message=f"{service}: {error.details()}")
    )


def _unreachable(service: str, target: str) -> str:
    if proxy := proxy_variable(target):
        return (
            f"the {service} service does not answer at {target} through the proxy that {proxy} names;"
            f" add {host_of(target)} to no_proxy to go around it"
        )
    return f"the {service} service does not answer at {target}; `faceloom up` starts it here"
