"""Servers that register with the real server process, and their clients."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from tests.support.endtoend import BINARY, CLOSE, PING, EndToEnd, Stream, WebSocket, call, connect
from tests.support.wires import slip, unslip


def anyUuid() -> str:
    """Return a new uuid."""
    return f"{{{uuid4()}}}"


def error(name: str) -> str:
    """Return how an answer spells an error."""
    return f"TunnelProxyError{name}"


class Core:
    """A server that registers; it knows packets, and whom they come from.

    :ivar answer: the params of the answer to its registration.
    """

    def __init__(self, url: str, uuid: str, **more: str) -> None:
        self.stream = connect(url)
        request = call("TunnelProxy.RegisterServer", serverName="core", serverUuid=uuid, **more)
        self.stream.sendMessage(request)
        self.answer = json.loads(self.stream.message())["params"]
        self._packets: list[bytes] = []
        self._held = b""

    def send(self, address: int, data: bytes) -> None:
        """Send a packet."""
        packet = slip(address, data)
        self.stream.sendMessage(packet)

    def packet(self) -> tuple[int, bytes]:
        """Return the next packet."""
        while not self._packets:
            *self._packets, self._held = (self._held + self._read()).split(b"\xc0")
        return unslip(self._packets.pop(0))

    def _read(self) -> bytes:
        if isinstance(self.stream, WebSocket):
            opcode, payload = self.stream.frame()
            while opcode == PING:  # it is looked whether we are there, for which an ACK is enough
                opcode, payload = self.stream.frame()
            assert opcode == BINARY, (opcode, payload)
            return payload
        return self.stream.readUntil(b"\xc0")

    def message(self) -> dict[str, Any]:
        """Return the next packet, a message of the proxy."""
        address, data = self.packet()
        assert address == 0, (address, data)
        message: dict[str, Any] = json.loads(data)
        return message

    def take(self, address: int, size: int) -> bytes:
        """Return the next bytes of a client; only it sends."""
        data = b""
        while len(data) < size:
            source, more = self.packet()
            assert source == address, (source, more)
            data += more
        return data


def visit(url: str, uuid: str, name: str = "app", **more: str) -> tuple[Stream, str]:
    """Return a client that asked for a server, and what the proxy says to it."""
    client = connect(url)
    request = call(
        "TunnelProxy.RegisterClient",
        clientName=name,
        clientUuid=anyUuid(),
        serverUuid=uuid,
        **more,
    )
    client.sendMessage(request)
    said: str = json.loads(client.message())["params"]["tunnelProxyError"]
    return client, said


class TunnelProxyCase(EndToEnd):
    """Helpers for servers with the tunnel proxy."""

    def register(self, url: str, uuid: str) -> Core:
        """Return a registered server, which is closed with the test."""
        core = Core(url, uuid)
        self.keep(core.stream)
        expected = {"tunnelProxyError": error("NoError"), "slipEnabled": True}
        self.assertEqual(core.answer, expected)
        return core

    def join(self, url: str, uuid: str, core: Core) -> tuple[Stream, int]:
        """Return a client of a server, and its address."""
        client, said = visit(url, uuid)
        self.keep(client)
        self.assertEqual(said, error("NoError"))
        message = core.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientConnected")
        address: int = message["params"]["socketAddress"]
        return client, address

    def read(self, client: Stream, size: int) -> bytes:
        """Return the next bytes that a client receives."""
        if not isinstance(client, WebSocket):
            return client.read(size)
        data = b""
        while len(data) < size:
            opcode, payload = client.frame()
            self.assertNotIn(opcode, (CLOSE, PING, -1))
            data += payload
        return data

    def works(self, core: Core, client: Stream, address: int) -> None:
        """Check that bytes pass in both directions."""
        client.sendMessage(b"from the client")
        self.assertEqual(core.take(address, 15), b"from the client")
        core.send(address, b"from the server")
        self.assertEqual(self.read(client, 15), b"from the server")
