"""A proxy whose tunnel proxy is on, on real sockets, and what its servers and clients say to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import inlineCallbacks

from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.serverend import ServerEnd
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.served import Served
from tests.support.wires import Inline, LengthPrefixed, Registered, Wire

SERVER = "{5e4a1ec3-7d34-4a0e-8b61-0c2f5a1d9e77}"
CLIENT = "{c1a55e5f-00d1-4c0d-9b1e-2f6e7d8c9b0a}"
NULL = "{00000000-0000-0000-0000-000000000000}"
METHODS = (
    "RegisterServer",
    "RegisterClient",
    "DisconnectClient",
    "PauseClient",
    "ResumeClient",
    "Ping",
)
NOTIFICATIONS = ("ClientConnected", "ClientDisconnected")
ERRORS = (
    "NoError",
    "InvalidUuid",
    "InternalServerError",
    "ServerNotFound",
    "ForbiddenCall",
    "AlreadyRegistered",
    "NotRegistered",
    "UnknownSocketAddress",
)
SIZES = (1, 7, 125, 126, 65_535, 65_536, 300_000)
"""Sizes of what is sent at a time, about every one that means something to some framing."""


def anyUuid() -> str:
    """Return a new uuid."""
    return f"{{{uuid4()}}}"


def request(method: str, **params: object) -> bytes:
    """Return a request without a line end."""
    return json.dumps({"id": 1, "method": f"TunnelProxy.{method}", "params": params}).encode()


def registerServer(uuid: str = SERVER) -> bytes:
    """Return the request that registers a server."""
    return request("RegisterServer", serverName="core", serverUuid=uuid)


def registerClient(server: str = SERVER) -> bytes:
    """Return the request that registers a client."""
    return request("RegisterClient", clientName="app", clientUuid=anyUuid(), serverUuid=server)


def answer(error: str = "NoError", **more: object) -> dict[str, Any]:
    """Return the answer to a request of the tunnel proxy."""
    assert error in ERRORS
    params = {"tunnelProxyError": f"TunnelProxyError{error}", **more}
    return {"id": 1, "status": "success", "params": params}


def pieces(data: bytes, sizes: Iterable[int] = SIZES) -> list[bytes]:
    """Cut it up."""
    cut, at, sizes = [], 0, list(sizes)
    while at < len(data):
        size = sizes[len(cut) % len(sizes)]
        cut.append(data[at : at + size])
        at += size
    return cut


def digests(*parts: bytes) -> list[str]:
    """Return what can be compared, and shown if it differs."""
    return [hashlib.sha256(part).hexdigest() for part in parts]


class Switched(Served):
    """A proxy whose tunnel proxy is on."""

    terms = Terms()

    def record(self, number: int) -> Record:
        """Return the record of the connection that came as the `number`-th, from 1."""
        return self.proxy.registry._records[number]

    @inlineCallbacks
    def serve(self, transport: str, uuid: str = SERVER, opcode: int = 2, **more: str) -> Inline:
        """Register a server; fires with what stands for it."""
        wire = yield self.connector.connect(transport, opcode)
        self.offer(wire, uuid, **more)
        response = yield wire.message()
        self.assertEqual(response, answer(slipEnabled=True))
        return Registered(wire)

    @inlineCallbacks
    def servePrefixed(self, transport: str) -> Inline:
        """Register one whose packets have their length in front."""
        wire = yield self.connector.connect(transport, 2)
        self.offer(wire, lengthPrefixed=True)
        response = yield wire.message()
        self.assertEqual(response, answer(slipEnabled=False, lengthPrefixed=True))
        return LengthPrefixed(wire)

    def offer(self, wire: Wire, uuid: str = SERVER, **more: object) -> None:
        """Ask to be registered as a server; `more` are further params, here and below."""
        params = {"serverName": "core", "serverUuid": uuid, **more}
        wire.call("TunnelProxy.RegisterServer", params)

    def ask(self, wire: Wire, server: str = SERVER, uuid: str | None = None, **more: str) -> None:
        """Ask to be connected to a server."""
        uuid = anyUuid() if uuid is None else uuid
        params = {"clientName": "app", "clientUuid": uuid, "serverUuid": server, **more}
        wire.call("TunnelProxy.RegisterClient", params)

    @inlineCallbacks
    def visit(
        self,
        transport: str,
        server: Registered,
        opcode: int = 2,
        uuid: str | None = None,
        **more: str,
    ) -> Inline:
        """Connect a client to the server; fires with its wire and its address."""
        wire = yield self.connector.connect(transport, opcode)
        self.ask(wire, uuid=uuid, **more)
        response = yield wire.message()
        self.assertEqual(response, answer())
        address = yield self.announced(server)
        return wire, address

    @inlineCallbacks
    def announced(self, server: Registered) -> Inline:
        """Expect that a client is announced; fires with its address."""
        message = yield server.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientConnected")
        return message["params"]["socketAddress"]

    @inlineCallbacks
    def departed(self, server: Registered, address: int) -> Inline:
        """Expect that this client is said to be gone."""
        message = yield server.message()
        self.assertEqual(message["notification"], "TunnelProxy.ClientDisconnected")
        self.assertEqual(message["params"], {"socketAddress": address})

    @inlineCallbacks
    def refused(
        self, wire: Wire, error: str, code: int, outcome: Outcome, **more: object
    ) -> Inline:
        """Expect this error, and the end."""
        response = yield wire.message()
        self.assertEqual(response, answer(error, **more))
        yield self.closed(wire, code, outcome)

    @inlineCallbacks
    def closed(self, wire: Wire, code: int, outcome: Outcome, count: int = 1) -> Inline:
        """Expect the end, and nothing before it."""
        self.assertEqual((yield wire.end()), b"")
        self.assertClosed(wire, code, outcome.reason)
        wire.leave()
        yield wire.gone()
        yield self.ended(outcome, count)

    @inlineCallbacks
    def works(self, server: Registered, wire: Wire, address: int) -> Inline:
        """Check that bytes pass between a server and a client, in both directions."""
        wire.send(b"from the client")
        self.assertEqual((yield server.take(address, 15)), b"from the client")
        server.send(address, b"from the server")
        self.assertEqual((yield wire.take(15)), b"from the server")

    @inlineCallbacks
    def left(self, wire: Wire) -> Inline:
        """Expect that a client is told that its server is gone."""
        self.assertEqual((yield wire.end()), b"")
        self.assertClosed(wire, 1000, "tunnel partner disconnected")
        wire.leave()
        yield wire.gone()

    def end(self) -> ServerEnd:
        """Return the proxy's end of the server's tunnel."""
        assert self.switchboard is not None
        return self.switchboard._servers[UUID(SERVER)]


def add(module: dict[str, Any], name: str, *bases: type, **members: object) -> None:
    """Add a test class to a module.

    :param module: its `globals()`.
    """
    module[name] = type(name, bases, {**members, "__module__": module["__name__"]})
