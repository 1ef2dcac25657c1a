"""A registered server of the tunnel proxy and its clients, as the load generator sees them.

Owns what is said until they are connected, and the SLIP stream of the server. Knows nothing of what
is measured.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from benchmarks.meetings import SECONDS, Address, Tunnel
from benchmarks.wires import Wire, connect
from nymearemoteproxy.protocol.packets import PROXY
from nymearemoteproxy.protocol.slip import PacketReader


class Channel(Wire):
    """What one client and the server say to each other, at the server's end.

    What is written must be in packets already.
    """

    def __init__(self, server: Wire) -> None:
        super().__init__()
        self._server = server
        self.closed = server.closed
        self.canWrite = server.canWrite

    @property
    def transport(self) -> Any:
        return self._server.transport

    def close(self) -> None:
        self._server.close()


class Registered:
    """A connection that is registered as a server.

    :ivar wire: the connection.
    """

    def __init__(self, wire: Wire, serverUuid: str) -> None:
        self.wire = wire
        self._uuid = serverUuid
        self._reader = PacketReader(0)
        self._channels: dict[int, Channel] = {PROXY: Channel(wire)}
        wire.takesBinary = True
        wire.receive = self._receive

    def _receive(self, data: bytes | memoryview, _last: bool | None) -> None:
        for address, payload in self._reader.receive(bytes(data)):
            self._channels[address].receive(payload, None)

    async def connect(self, transport: str, address: Address) -> Tunnel:
        """Connect a client; return the server's end and the client's."""
        async with asyncio.timeout(SECONDS):
            client = await connect(transport, address)
            await visit(client, self._uuid)
            notification: dict[str, Any] = json.loads(await self._channels[PROXY].line())
        channel = Channel(self.wire)
        self._channels[notification["params"]["socketAddress"]] = channel
        client.takesBinary = True
        return channel, _Unbounded(client)


class _Unbounded(Channel):
    """A client whose messages, if it has any, need not be those that were sent."""

    def __init__(self, client: Wire) -> None:
        super().__init__(client)
        client.receive = lambda data, _last: self.receive(data, None)

    def write(self, data: bytes) -> None:
        self._server.write(data)


async def visit(wire: Wire, serverUuid: str) -> None:
    """Make a connection one to a registered server.

    :raises ConnectionError: the proxy refuses.
    """
    params = {
        "clientName": "benchmark",
        "clientUuid": str(uuid.uuid4()),
        "serverUuid": serverUuid,
    }
    await _call(wire, "TunnelProxy.RegisterClient", params)


async def register(transport: str, address: Address, serverUuid: str = "") -> Registered:
    """Connect a server.

    :param serverUuid: a new one if nothing is said.
    """
    serverUuid = serverUuid or str(uuid.uuid4())
    async with asyncio.timeout(SECONDS):
        wire = await connect(transport, address)
        params = {"serverName": "benchmark", "serverUuid": serverUuid}
        await _call(wire, "TunnelProxy.RegisterServer", params)
    return Registered(wire, serverUuid)


async def _call(wire: Wire, method: str, params: dict[str, str]) -> None:
    wire.send(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
    answer: dict[str, Any] = json.loads(await wire.line())
    if answer.get("params", {}).get("tunnelProxyError") != "TunnelProxyErrorNoError":
        raise ConnectionError(f"the server refuses: {answer}")
