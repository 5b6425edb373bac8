"""A name server that knows one IPv4 address, or nothing."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

_NO_SUCH_NAME, _ANSWER = 0x8183, 0x8180
_A = 1
_LOCALHOST = bytes([127, 0, 0, 1])


class NameServer(asyncio.DatagramProtocol):
    """Says that every name is this machine, once it is told to."""

    knows = False
    port = 0
    _transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: Any) -> None:
        end = data.index(0, 12) + 1
        kind, _ = struct.unpack_from("!HH", data, end)
        found = self.knows and kind == _A
        flags = _ANSWER if self.knows else _NO_SUCH_NAME
        header = data[:2] + struct.pack("!HHHHH", flags, 1, found, 0, 0)
        # The name is the one at offset 12; the answer holds for no second.
        answer = struct.pack("!HHHIH", 0xC00C, _A, 1, 0, 4) + _LOCALHOST if found else b""
        self._transport.sendto(header + data[12 : end + 4] + answer, address)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Listens as long as the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
