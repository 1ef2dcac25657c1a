"""The tunnel proxy, over every transport and mixed pairs of them, on real sockets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater

from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, ClientEnd
from nymearemoteproxy.tunnelproxy.serverend import SERVER_BACKLOG, ServerEnd
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.direct import READ_SIZE
from tests.support.wires import Inline, Registered, Wire, maskedFrame, reactor, slip
from tests.wires.test_wires import ALIVE, OTHER, TRANSPORTS, NoCollectorMixin, Served

SERVER = "{5e4a1ec3-7d34-4a0e-8b61-0c2f5a1d9e77}"
CLIENT = "{c1a55e5f-00d1-4c0d-9b1e-2f6e7d8c9b0a}"
NULL = "{00000000-0000-0000-0000-000000000000}"
METHODS = ("RegisterServer", "RegisterClient", "DisconnectClient", "Ping")
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
    def serve(self, transport: str, uuid: str = SERVER, opcode: int = 2) -> Inline:
        """Register a server; fires with what stands for it."""
        wire = yield self.connector.connect(transport, opcode)
        wire.call("TunnelProxy.RegisterServer", {"serverName": "core", "serverUuid": uuid})
        response = yield wire.message()
        self.assertEqual(response, answer(slipEnabled=True))
        return Registered(wire)

    def ask(self, wire: Wire, server: str = SERVER, uuid: str | None = None) -> None:
        """Ask to be connected to a server."""
        uuid = anyUuid() if uuid is None else uuid
        params = {"clientName": "app", "clientUuid": uuid, "serverUuid": server}
        wire.call("TunnelProxy.RegisterClient", params)

    @inlineCallbacks
    def visit(
        self, transport: str, server: Registered, opcode: int = 2, uuid: str | None = None
    ) -> Inline:
        """Connect a client to the server; fires with its wire and its address."""
        wire = yield self.connector.connect(transport, opcode)
        self.ask(wire, uuid=uuid)
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


class OffMixin:
    """The tunnel proxy is switched off."""

    transport = ""

    @inlineCallbacks
    def test_notThere(self) -> Inline:
        """Hello tells the older API, Introspect does not know the namespace."""
        wire = yield self.connector.connect(self.transport)
        wire.call("RemoteProxy.Hello")
        self.assertEqual((yield wire.message())["params"]["apiVersion"], "0.3")
        wire.call("RemoteProxy.Introspect")
        response = yield wire.message()
        self.assertNotIn("TunnelProxy", json.dumps(response))

    @inlineCallbacks
    def test_unknownNamespace(self) -> Inline:
        for count, method in enumerate(METHODS, 1):
            wire = yield self.connector.connect(self.transport)
            wire.call(f"TunnelProxy.{method}", {}, number=7)
            response = yield wire.message()
            self.assertEqual((response["id"], response["status"]), (7, "error"))
            self.assertIn("namespace", response["error"])
            yield wire.end()
            self.assertClosed(wire, 1008, "invalid request")
            wire.leave()
            yield wire.gone()
            yield self.ended(Outcome.INVALID_REQUEST, count)


class RegistrationMixin:
    """The calls of a connection that is not registered yet."""

    transport = ""

    @inlineCallbacks
    def test_hello(self) -> Inline:
        """The API that has both kinds of tunnel has a version of its own."""
        wire = yield self.connector.connect(self.transport)
        wire.call("RemoteProxy.Hello")
        response = yield wire.message()
        version = response["params"].pop("version")
        self.assertTrue(version)
        self.assertEqual(
            response["params"],
            {"server": "nymea-remoteproxy", "name": "test server", "apiVersion": "5"},
        )

    @inlineCallbacks
    def test_introspect(self) -> Inline:
        """Both kinds of tunnel are described."""
        wire = yield self.connector.connect(self.transport)
        wire.call("RemoteProxy.Introspect")
        params = (yield wire.message())["params"]
        self.assertEqual(
            set(params["methods"]),
            {
                "RemoteProxy.Hello",
                "RemoteProxy.Introspect",
                "Authentication.Authenticate",
                *(f"TunnelProxy.{name}" for name in METHODS),
            },
        )
        self.assertLessEqual(
            {"RemoteProxy.TunnelEstablished", *(f"TunnelProxy.{name}" for name in NOTIFICATIONS)},
            set(params["notifications"]),
        )
        self.assertEqual(
            sorted(params["types"]["TunnelProxyError"]),
            sorted(f"TunnelProxyError{error}" for error in ERRORS),
        )
        self.assertIn("AuthenticationError", params["types"])
        method = params["methods"]["TunnelProxy.RegisterServer"]
        self.assertEqual(method["params"], {"serverName": "String", "serverUuid": "Uuid"})
        self.assertEqual(
            method["returns"],
            {"tunnelProxyError": "$ref:TunnelProxyError", "slipEnabled": "Bool"},
        )

    @inlineCallbacks
    def test_registers(self) -> Inline:
        """The server is told of its client, with the uuid in braces, however it was written."""
        wire = yield self.connector.connect(OTHER[self.transport])
        plain = SERVER.strip("{}").upper()
        wire.call("TunnelProxy.RegisterServer", {"serverName": "c", "serverUuid": plain}, number=4)
        self.assertEqual((yield wire.message()), {**answer(slipEnabled=True), "id": 4})
        server = Registered(wire)
        client = yield self.connector.connect(self.transport)
        client.call(
            "TunnelProxy.RegisterClient",
            {"clientName": "ä\n", "clientUuid": CLIENT.strip("{}").upper(), "serverUuid": SERVER},
            number=5,
        )
        self.assertEqual((yield client.message()), {**answer(), "id": 5})
        message = yield server.message()
        self.assertIsInstance(message["id"], (int, str))
        self.assertNotIsInstance(message["id"], bool)
        self.assertEqual(message["notification"], "TunnelProxy.ClientConnected")
        address = message["params"].pop("socketAddress")
        self.assertIsInstance(address, int)
        self.assertEqual(
            message["params"],
            {
                "clientName": "ä\n",
                "clientUuid": CLIENT,
                "clientPeerAddress": "" if self.transport == "unix" else "127.0.0.1",
            },
        )
        yield self.works(server, client, address)
        self.assertEqual((self.switchboard.servers, self.switchboard.clients), (1, 1))
        self.assertEqual(self.proxy.registry.gate.unauthenticated, 0)

    @inlineCallbacks
    def test_invalidUuid(self) -> Inline:
        """The connection is kept, and may still register."""
        server = yield self.serve(OTHER[self.transport])
        wire = yield self.connector.connect(self.transport)
        plain = CLIENT.strip("{}")
        for bad in (
            "",
            "{}",
            "no uuid",
            NULL,
            NULL.strip("{}"),
            f"{{{plain}",
            f"{plain}}}",
            f"{{{CLIENT}}}",
            f"{plain}\n",
            f" {plain}",
            plain.replace("-", ""),
            f"urn:uuid:{plain}",
            plain.replace("c1", "ｃ1"),
        ):
            wire.call("TunnelProxy.RegisterServer", {"serverName": "c", "serverUuid": bad})
            self.assertEqual((yield wire.message()), answer("InvalidUuid", slipEnabled=False), bad)
            for uuid, asked in (bad, SERVER), (CLIENT, bad), (bad, bad):
                self.ask(wire, asked, uuid)
                self.assertEqual((yield wire.message()), answer("InvalidUuid"), bad)
        self.ask(wire, uuid=CLIENT)
        self.assertEqual((yield wire.message()), answer())
        address = yield self.announced(server)
        yield self.works(server, wire, address)

    @inlineCallbacks
    def test_serverNotFound(self) -> Inline:
        yield self.serve(OTHER[self.transport])
        wire = yield self.connector.connect(self.transport)
        self.ask(wire, anyUuid())
        yield self.refused(wire, "ServerNotFound", 1013, Outcome.SERVER_NOT_FOUND)

    @inlineCallbacks
    def test_uuidTaken(self) -> Inline:
        """By a server or by a client, for a server or for a client; the older one goes on."""
        server = yield self.serve(OTHER[self.transport])
        client, address = yield self.visit(OTHER[self.transport], server, uuid=CLIENT)
        for count, taken in enumerate((SERVER, CLIENT.strip("{}").upper()), 1):
            wire = yield self.connector.connect(self.transport)
            wire.call("TunnelProxy.RegisterServer", {"serverName": "c", "serverUuid": taken})
            response = yield wire.message()
            self.assertEqual(response, answer("AlreadyRegistered", slipEnabled=False))
            yield self.closed(wire, 1008, Outcome.ALREADY_REGISTERED, 2 * count - 1)
            wire = yield self.connector.connect(self.transport)
            self.ask(wire, uuid=taken)
            self.assertEqual((yield wire.message()), answer("AlreadyRegistered"))
            yield self.closed(wire, 1008, Outcome.ALREADY_REGISTERED, 2 * count)
        yield self.works(server, client, address)
        self.assertEqual(list(server.messages), [])

    @inlineCallbacks
    def test_uuidIsFreeAgain(self) -> Inline:
        """As soon as whoever had it is gone; also for the other purpose."""
        server = yield self.serve(OTHER[self.transport])
        for _ in range(2):
            wire, address = yield self.visit(self.transport, server, uuid=CLIENT)
            wire.leave()
            yield self.departed(server, address)
        again = yield self.serve(self.transport, CLIENT)
        again.wire.leave()
        yield again.wire.gone()
        server.wire.leave()
        yield server.wire.gone()
        yield self.eventually(lambda: self.switchboard.servers == 0)
        yield self.serve(self.transport)

    @inlineCallbacks
    def test_forbiddenCall(self) -> Inline:
        """Only a server may disconnect clients, and only its own."""
        server = yield self.serve(OTHER[self.transport])
        client, address = yield self.visit(OTHER[self.transport], server)
        wire = yield self.connector.connect(self.transport)
        wire.call("TunnelProxy.DisconnectClient", {"socketAddress": address})
        yield self.refused(wire, "ForbiddenCall", 1008, Outcome.FORBIDDEN_CALL)
        yield self.works(server, client, address)
        second = yield self.serve(self.transport, anyUuid())
        second.call("TunnelProxy.DisconnectClient", {"socketAddress": address})
        self.assertEqual((yield second.message()), answer("UnknownSocketAddress"))
        yield self.works(server, client, address)

    @inlineCallbacks
    def test_params(self) -> Inline:
        """What is missing, forbidden or of the wrong type is named."""
        wrong: list[tuple[str, dict[str, object], str]] = [
            ("RegisterServer", {"serverName": "core"}, "serverUuid"),
            ("RegisterServer", {"serverName": 1, "serverUuid": SERVER}, "serverName"),
            ("RegisterServer", {"serverName": "", "serverUuid": SERVER, "token": ""}, "token"),
            ("RegisterClient", {"clientName": "app", "serverUuid": SERVER}, "clientUuid"),
            (
                "RegisterClient",
                {"clientName": "app", "clientUuid": None, "serverUuid": SERVER},
                "clientUuid",
            ),
            ("DisconnectClient", {}, "socketAddress"),
            ("DisconnectClient", {"socketAddress": -1}, "socketAddress"),
            ("Ping", {"timestamp": "1"}, "timestamp"),
            ("Pong", {}, "method"),
        ]
        for count, (method, params, name) in enumerate(wrong, 1):
            wire = yield self.connector.connect(self.transport)
            wire.call(f"TunnelProxy.{method}", params)
            response = yield wire.message()
            self.assertEqual((response["id"], response["status"]), (1, "error"))
            self.assertIn(name, response["error"])
            yield self.closed(wire, 1008, Outcome.INVALID_REQUEST, count)

    @inlineCallbacks
    def test_ping(self) -> Inline:
        """It asks for nothing that only a server could have."""
        wire = yield self.connector.connect(self.transport)
        wire.call("TunnelProxy.Ping", {"timestamp": 1700000000})
        response = yield wire.message()
        self.assertEqual(response["params"], {"timestamp": 1700000000})

    @inlineCallbacks
    def test_tokenTunnels(self) -> Inline:
        """They are there all the while, on the same listeners."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        one, two = yield self.tunnel(self.transport, OTHER[self.transport])
        for sender, receiver in (one, two), (two, one):
            sender.send(b"by token")
            self.assertEqual((yield receiver.take(8)), b"by token")
            yield self.works(server, client, address)
        server.wire.leave()
        yield self.left(client)
        one.send(b"still here")
        self.assertEqual((yield two.take(10)), b"still here")


class BeginningMixin:
    """How the request ends, and what comes with it in one read."""

    transport = ""

    def raw(self, wire: Any, *parts: bytes, opcode: int = 2) -> None:
        """Send so that it is read at once: for WebSocket, each part is a message."""
        wire.sendRaw(
            b"".join(maskedFrame(opcode, part) if wire.webSocket else part for part in parts)
        )

    @inlineCallbacks
    def bytewise(self, wire: Any, data: bytes) -> Inline:
        """Send a byte at a time, each to be read by itself."""
        if self.transport != "unix":
            wire.transport.setTcpNoDelay(True)
        number = self.connector.wires.index(wire) + 1
        yield self.eventually(lambda: number in self.proxy.registry._records)
        record = self.record(number)
        for byte in maskedFrame(2, data) if wire.webSocket else data:
            received = record.received
            wire.sendRaw(bytes([byte]))
            while record.received == received:
                yield deferLater(reactor, 0)

    @inlineCallbacks
    def registered(self, wire: Any) -> Inline:
        """Expect that the request has registered a server; fires with what stands for it."""
        self.assertEqual((yield wire.message()), answer(slipEnabled=True))
        return Registered(wire)

    @inlineCallbacks
    def pong(self, server: Registered, number: int = 0) -> Inline:
        """Expect the answer to `ping`."""
        response = yield server.message()
        self.assertEqual(response["params"], {"timestamp": number})

    def ping(self, number: int = 0) -> bytes:
        """Return a packet that is answered."""
        return slip(0, request("Ping", timestamp=number))

    @inlineCallbacks
    def test_serverBytewise(self) -> Inline:
        """Request, line end and packets."""
        wire = yield self.connector.connect(self.transport)
        yield self.bytewise(wire, registerServer() + b"\n")
        server = yield self.registered(wire)
        yield self.bytewise(wire, self.ping(1))
        yield self.pong(server, 1)
        client, address = yield self.visit(OTHER[self.transport], server)
        yield self.bytewise(wire, slip(address, b"\xc0\xdb payload \xdc\xdd"))
        self.assertEqual((yield client.take(13)), b"\xc0\xdb payload \xdc\xdd")

    @inlineCallbacks
    def test_clientBytewise(self) -> Inline:
        server = yield self.serve(OTHER[self.transport])
        wire = yield self.connector.connect(self.transport)
        yield self.bytewise(wire, registerClient() + b"\n")
        self.assertEqual((yield wire.message()), answer())
        address = yield self.announced(server)
        yield self.bytewise(wire, b"\n\xc0\xdb payload")
        self.assertEqual((yield server.take(address, 11)), b"\n\xc0\xdb payload")

    @inlineCallbacks
    def test_serverWithoutLineEnd(self) -> Inline:
        """The request is complete with its brace; the packets may follow at any time."""
        for behind in b"", self.ping():
            wire = yield self.connector.connect(self.transport)
            self.raw(wire, *filter(None, (registerServer(anyUuid()), behind)))
            server = yield self.registered(wire)
            if not behind:
                self.raw(wire, self.ping())
            yield self.pong(server)

    @inlineCallbacks
    def test_clientWithoutLineEnd(self) -> Inline:
        server = yield self.serve(OTHER[self.transport])
        for behind in b"", b"payload":
            wire = yield self.connector.connect(self.transport)
            self.raw(wire, *filter(None, (registerClient(), behind)))
            self.assertEqual((yield wire.message()), answer())
            address = yield self.announced(server)
            if not behind:
                self.raw(wire, b"payload")
            self.assertEqual((yield server.take(address, 7)), b"payload")

    @inlineCallbacks
    def test_lineEndWithThePackets(self) -> Inline:
        """It comes late, in one read with the first bytes of SLIP."""
        for lineEnd in b"\n", b"\r\n":
            wire = yield self.connector.connect(self.transport)
            self.raw(wire, registerServer(anyUuid()))
            server = yield self.registered(wire)
            self.raw(wire, lineEnd + self.ping())
            yield self.pong(server)

    @inlineCallbacks
    def test_serverAndPackets(self) -> Inline:
        """A hasty server's packets are in the same read, the last one is cut."""
        wire = yield self.connector.connect(self.transport)
        packets = b"\xc0" + self.ping(1) + self.ping(2) + self.ping(3)
        self.raw(wire, registerServer() + b"\n", packets[:-9])
        server = yield self.registered(wire)
        yield self.pong(server, 1)
        yield self.pong(server, 2)
        self.raw(wire, packets[-9:])
        yield self.pong(server, 3)

    @inlineCallbacks
    def test_clientAndPayload(self) -> Inline:
        """A hasty client's payload is in the same read; only the first line end is no payload."""
        server = yield self.serve(OTHER[self.transport])
        for payload in b"payload", b"\npay\xc0load\xdb\n", os.urandom(50_000):
            wire = yield self.connector.connect(self.transport)
            self.raw(wire, registerClient() + b"\n", payload)
            self.assertEqual((yield wire.message()), answer())
            address = yield self.announced(server)
            received = yield server.take(address, len(payload))
            self.assertEqual(received, payload)

    @inlineCallbacks
    def test_refusedAndPayload(self) -> Inline:
        """What a client sends behind a request that is refused does no harm, and goes nowhere."""
        server = yield self.serve(OTHER[self.transport])
        wire = yield self.connector.connect(self.transport)
        self.raw(wire, registerClient(anyUuid()) + b"\n", b"payload")
        yield self.refused(wire, "ServerNotFound", 1013, Outcome.SERVER_NOT_FOUND)
        self.assertEqual((server.messages, server.here), (type(server.messages)(), set()))

    @inlineCallbacks
    def test_clientLeavesInTheSameRead(self) -> Inline:
        """The server hears of it, of what it sent, and of its end."""
        server = yield self.serve(OTHER[self.transport])
        wire = yield self.connector.connect(self.transport)
        self.raw(wire, registerClient() + b"\n", b"payload")
        wire.leave()
        address = yield self.announced(server)
        yield self.departed(server, address)
        self.assertEqual(bytes(server.streams[address]), b"payload")
        yield wire.gone()

    @inlineCallbacks
    def test_serverLeavesInTheSameRead(self) -> Inline:
        """Its uuid is free then."""
        wire = yield self.connector.connect(self.transport)
        self.raw(wire, registerServer() + b"\n", self.ping()[:-5])
        wire.leave()
        yield wire.gone()
        yield self.ended(Outcome.CLIENT_LEFT)
        self.assertEqual(self.switchboard.servers, 0)
        yield self.serve(self.transport)


class StreamBeginningMixin:
    """The line end on streams, in a read of its own."""

    transport = ""

    @inlineCallbacks
    def lineEndAlone(self, wire: Any, sent: int, lineEnd: bytes) -> Inline:
        """Send it, and wait until it was read."""
        record = self.record(self.connector.wires.index(wire) + 1)
        self.assertEqual(record.received, sent)
        wire.sendRaw(lineEnd)
        yield self.eventually(lambda: record.received == sent + len(lineEnd))

    @inlineCallbacks
    def test_server(self) -> Inline:
        for lineEnd in b"\n", b"\r\n":
            wire = yield self.connector.connect(self.transport)
            data = registerServer(anyUuid())
            wire.sendRaw(data)
            self.assertEqual((yield wire.message()), answer(slipEnabled=True))
            yield self.lineEndAlone(wire, len(data), lineEnd)
            server = Registered(wire)
            server.call("TunnelProxy.Ping", {"timestamp": 3})
            self.assertEqual((yield server.message())["params"], {"timestamp": 3})

    @inlineCallbacks
    def test_client(self) -> Inline:
        """It is no payload, but the next one is."""
        server = yield self.serve(OTHER[self.transport])
        for lineEnd in b"\n", b"\r\n":
            wire = yield self.connector.connect(self.transport)
            data = registerClient()
            wire.sendRaw(data)
            self.assertEqual((yield wire.message()), answer())
            address = yield self.announced(server)
            yield self.lineEndAlone(wire, len(data), lineEnd)
            wire.send(b"\npayload")
            self.assertEqual((yield server.take(address, 8)), b"\npayload")


class ServerMixin:
    """A registered server over one transport; its clients come over others."""

    transport = ""

    @inlineCallbacks
    def test_calls(self) -> Inline:
        """Requests to the proxy may be cut, joined, and lack their line ends."""
        server = yield self.serve(self.transport)
        ping = request("Ping", timestamp=5)
        hello = b'{"id":2,"method":"RemoteProxy.Hello"}'
        server.send(0, ping[:10])
        server.send(0, ping[10:])
        server.send(0, b"\n" + ping + b"\n\n" + hello + ping[:1])
        server.send(0, b"")
        server.send(0, ping[1:])
        for _ in range(2):
            self.assertEqual((yield server.message())["params"], {"timestamp": 5})
        response = yield server.message()
        self.assertEqual((response["id"], response["params"]["apiVersion"]), (2, "5"))
        self.assertEqual((yield server.message())["params"], {"timestamp": 5})
        server.call("RemoteProxy.Introspect", {}, 3)
        response = yield server.message()
        self.assertIn("TunnelProxy.Ping", response["params"]["methods"])

    @inlineCallbacks
    def test_timestamps(self) -> Inline:
        """Whatever it is, it comes back unchanged."""
        server = yield self.serve(self.transport)
        for timestamp in 0, 1, 1700000000, 1700000000000, 1 << 53:
            server.call("TunnelProxy.Ping", {"timestamp": timestamp})
            self.assertEqual((yield server.message())["params"], {"timestamp": timestamp})

    @inlineCallbacks
    def check(self, data: bytes, response: dict[str, Any], code: int, outcome: Outcome) -> Inline:
        """Send something wrong at address 0; expect this answer and the end, for clients too."""
        server = yield self.serve(self.transport)
        client, _address = yield self.visit(OTHER[self.transport], server)
        server.send(0, data)
        got = yield server.message()
        for key, value in response.items():
            self.assertEqual(got[key], value)
        self.assertEqual((yield server.wire.end()), b"")
        self.assertClosed(server.wire, code, outcome.reason)
        yield self.left(client)
        server.wire.leave()
        yield server.wire.gone()
        yield self.ended(outcome)
        self.assertEqual(self.switchboard.servers, 0)

    def test_garbage(self) -> Deferred[None]:
        response = {"id": -1, "status": "error"}
        return self.check(b"garbage", response, 1002, Outcome.INVALID_JSON)

    def test_unknownMethod(self) -> Deferred[None]:
        response = {"id": 1, "status": "error"}
        return self.check(request("Pong"), response, 1008, Outcome.INVALID_REQUEST)

    def test_tooLargeMessage(self) -> Deferred[None]:
        """The limit of the control phase counts here, too, however it is cut."""
        response = {"id": -1, "status": "error"}
        data = b'{"x":"' + b"x" * self.messageLimit
        return self.check(data, response, 1009, Outcome.MESSAGE_TOO_LARGE)

    def test_registersTwice(self) -> Deferred[None]:
        """As a server, under another uuid."""
        response = answer("AlreadyRegistered", slipEnabled=False)
        data = registerServer(anyUuid())
        return self.check(data, response, 1008, Outcome.ALREADY_REGISTERED)

    def test_registersAsClient(self) -> Deferred[None]:
        """Not even of itself."""
        response = answer("AlreadyRegistered")
        return self.check(registerClient(), response, 1008, Outcome.ALREADY_REGISTERED)

    def test_authenticates(self) -> Deferred[None]:
        """It has its tunnel."""
        data = b'{"id":1,"method":"Authentication.Authenticate","params":{"token":"good"}}'
        response = {"id": 1, "status": "error"}
        return self.check(data, response, 1008, Outcome.FORBIDDEN_CALL)

    @inlineCallbacks
    def test_disconnectClient(self) -> Inline:
        """It gets what was sent to it before; the others stay."""
        server = yield self.serve(self.transport)
        one, first = yield self.visit(OTHER[self.transport], server)
        two, second = yield self.visit("ws", server)
        data = os.urandom(200_000)
        server.send(first, data)
        server.call("TunnelProxy.DisconnectClient", {"socketAddress": first})
        server.send(first, b"too late")
        self.assertEqual((yield server.message()), answer())
        yield self.departed(server, first)
        rest = yield one.end()
        self.assertEqual(digests(rest), digests(data))
        self.assertClosed(one, 1000, "disconnected by the server")
        one.leave()
        yield one.gone()
        yield self.ended(Outcome.DISCONNECTED_BY_SERVER)
        yield self.works(server, two, second)
        server.call("TunnelProxy.DisconnectClient", {"socketAddress": first})
        self.assertEqual((yield server.message()), answer("UnknownSocketAddress"))
        self.assertEqual(self.switchboard.clients, 1)

    @inlineCallbacks
    def test_unknownAddresses(self) -> Inline:
        """Calls about them are answered, packets to them ignored; nobody is disturbed."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        for unknown in 0, address + 1, 0xFFFE, 0xFFFF, 0x10000 + address, 1 << 40:
            server.call("TunnelProxy.DisconnectClient", {"socketAddress": unknown})
            self.assertEqual((yield server.message()), answer("UnknownSocketAddress"), unknown)
            if 0 < unknown < 1 << 16:
                server.send(unknown, b"to nobody")
        yield self.works(server, client, address)

    @inlineCallbacks
    def test_invalidPackets(self) -> Inline:
        """They are dropped, and only they; none is half delivered."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        head = address.to_bytes(2, "big")
        server.wire.send(
            slip(address, b"one ")
            + b"\xc0\xc0\xc0"
            + (head + b"bad\xdbescape\xc0")
            + (head + b"cut\xdb\xc0")
            + (head + b"\xdb\xdb\xdc\xc0")
            + (b"\xdb\x00" + b"in the address\xc0")
            + b"\x00\xc0"
            + slip(address, b"two\xdb\xdc\xdd\xc0")
        )
        self.assertEqual((yield client.take(11)), b"one two\xdb\xdc\xdd\xc0")
        yield self.works(server, client, address)

    @inlineCallbacks
    def test_emptyPacket(self) -> Inline:
        """One for a client without data is nothing, not even an empty message."""
        server = yield self.serve(self.transport)
        for transport in TRANSPORTS:
            client, address = yield self.visit(transport, server)
            seen = len(getattr(client, "messages", ()))
            server.send(address, b"")
            server.send(address, b"data")
            self.assertEqual((yield client.take(4)), b"data")
            if client.webSocket:
                self.assertEqual(client.messages[seen:], [(2, b"data")])

    @inlineCallbacks
    def test_cutAnywhere(self) -> Inline:
        """Packets need not align with messages or reads."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        data = b"\xc0\xdb\xdc\xdd" * 25
        stream = b"".join(slip(address, piece) for piece in pieces(data, (1, 2, 3, 5)))
        for size in 1, 2, 3:
            for piece in pieces(stream, (size,)):
                server.wire.send(piece)
            self.assertEqual((yield client.take(len(data))), data)

    @inlineCallbacks
    def test_manyClients(self) -> Inline:
        """Clients of all kinds at once: each gets what is its own, in order."""
        server = yield self.serve(self.transport)
        clients = []
        for transport in TRANSPORTS * 2:
            client, address = yield self.visit(transport, server)
            clients.append((client, address, os.urandom(200_000), os.urandom(200_000)))
        self.assertEqual(len({address for _client, address, _there, _back in clients}), 10)
        arrived = gatherResults(
            [server.take(address, len(there)) for _client, address, there, _back in clients]
            + [client.take(len(back)) for client, _address, _there, back in clients]
        )
        for start in range(0, 200_000, 10_007):
            for client, address, there, back in clients:
                client.send(there[start : start + 10_007])
                server.send(address, back[start : start + 10_007])
        got = yield arrived
        sent = [there for _client, _address, there, _back in clients]
        sent += [back for _client, _address, _there, back in clients]
        self.assertEqual(digests(*got), digests(*sent))

    @inlineCallbacks
    def test_leavesInTheMiddleOfAPacket(self) -> Inline:
        """What was whole arrives, what was not does not; every client is told."""
        server = yield self.serve(self.transport)
        clients = []
        for transport in TRANSPORTS:
            clients.append((yield self.visit(transport, server)))
        data = os.urandom(50_000)
        for _client, address in clients:
            server.send(address, data)
        server.wire.send(slip(clients[0][1], b"never whole")[:-1])
        server.wire.leave()
        for client, _address in clients:
            self.assertEqual(digests((yield client.end())), digests(data))
            self.assertClosed(client, 1000, "tunnel partner disconnected")
            client.leave()
            yield client.gone()
        yield self.ended(Outcome.CLIENT_LEFT)
        yield self.ended(Outcome.PARTNER_LEFT, len(clients))

    @inlineCallbacks
    def test_reset(self) -> Inline:
        """A connection that breaks takes its clients along, and frees its uuid."""
        server = yield self.serve(self.transport)
        one, _address = yield self.visit(self.transport, server)
        two, _address = yield self.visit(OTHER[self.transport], server)
        server.wire.transport.abortConnection()
        yield self.left(one)
        yield self.left(two)
        yield self.ended(Outcome.PARTNER_LEFT, 2)
        server = yield self.serve(self.transport)
        client, address = yield self.visit(self.transport, server)
        yield self.works(server, client, address)

    @inlineCallbacks
    def test_shutDown(self) -> Inline:
        """Everybody is told, and nothing else, not even of others that leave meanwhile."""
        server = yield self.serve(self.transport)
        clients = []
        for transport in TRANSPORTS:
            clients.append((yield self.visit(transport, server))[0])
        server.wire.transport.pauseProducing()
        stopped = self.proxy.registry.dismissal.all()
        for wire in clients:
            self.assertEqual((yield wire.end()), b"")
            self.assertClosed(wire, 1001, "server is shutting down")
            wire.leave()
            yield wire.gone()
        yield self.eventually(lambda: self.proxy.registry.gate.connections == 1)
        server.wire.transport.resumeProducing()
        self.assertEqual((yield server.wire.end()), b"")
        self.assertClosed(server.wire, 1001, "server is shutting down")
        server.wire.leave()
        yield stopped
        self.assertEqual(self.proxy.registry.counts.outcomes, {Outcome.SHUTDOWN: 6})


class PacketSizeMixin:
    """A packet has a largest size."""

    transport = ""
    terms = Terms(packetSize=100_000)

    @inlineCallbacks
    def test_largest(self) -> Inline:
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        data = b"x" * (100_000 - 2)
        for _ in range(3):
            server.send(address, data)
            self.assertEqual((yield client.take(len(data))), data)

    @inlineCallbacks
    def test_tooLarge(self) -> Inline:
        """Whether it ends or not, the server is closed, and its clients with it."""
        for count, end in enumerate((b"", b"\xc0"), 1):
            server = yield self.serve(self.transport)
            client, address = yield self.visit(OTHER[self.transport], server)
            server.wire.send(address.to_bytes(2, "big") + b"x" * (100_001 - 2) + end)
            yield self.closed(server.wire, 1009, Outcome.PACKET_TOO_LARGE, count)
            yield self.left(client)
            self.assertEqual(self.switchboard.servers, 0)


class ClientMixin:
    """A client over one transport; its server is registered over another."""

    transport = ""

    @inlineCallbacks
    def test_leaves(self) -> Inline:
        """What it sent before arrives, and its address is told."""
        server = yield self.serve(OTHER[self.transport])
        other, second = yield self.visit(OTHER[self.transport], server)
        wire, address = yield self.visit(self.transport, server)
        data = os.urandom(300_000)
        wire.send(data)
        wire.leave()
        received = yield server.take(address, len(data))
        self.assertEqual(digests(received), digests(data))
        yield self.departed(server, address)
        yield wire.gone()
        yield self.ended(Outcome.CLIENT_LEFT)
        server.send(address, b"too late")
        yield self.works(server, other, second)

    @inlineCallbacks
    def test_reset(self) -> Inline:
        server = yield self.serve(OTHER[self.transport])
        wire, address = yield self.visit(self.transport, server)
        wire.transport.abortConnection()
        yield self.departed(server, address)
        yield self.eventually(lambda: self.switchboard.clients == 0)
        wire, address = yield self.visit(self.transport, server)
        yield self.works(server, wire, address)

    @inlineCallbacks
    def test_registersTwice(self) -> Inline:
        """Behind its registration there are no requests any more, only payload."""
        server = yield self.serve(OTHER[self.transport])
        wire, address = yield self.visit(self.transport, server)
        data = registerClient() + b"\n"
        wire.send(data)
        self.assertEqual((yield server.take(address, len(data))), data)
        self.assertEqual(self.switchboard.clients, 1)

    @inlineCallbacks
    def test_comesAndGoes(self) -> Inline:
        """An address means one client until it is said to be gone."""
        server = yield self.serve(OTHER[self.transport])
        stays, kept = yield self.visit(self.transport, server)
        for number in range(20):
            wire, address = yield self.visit(self.transport, server, uuid=CLIENT)
            self.assertNotEqual(address, kept)
            wire.send(b"%3d" % number)
            self.assertEqual((yield server.take(address, 3)), b"%3d" % number)
            wire.transport.abortConnection() if number % 2 else wire.leave()
            yield self.departed(server, address)
        yield self.works(server, stays, kept)

    @inlineCallbacks
    def test_nothingOfTheProxy(self) -> Inline:
        """What looks like the proxy's own, and comes from the server, is payload."""
        server = yield self.serve(OTHER[self.transport])
        wire, address = yield self.visit(self.transport, server)
        data = b"\x00\x00" + request("Ping", timestamp=1) + b"\n\xc0"
        server.send(address, data)
        self.assertEqual((yield wire.take(len(data))), data)
        wire.send(data)
        self.assertEqual((yield server.take(address, len(data))), data)


class PairMixin:
    """A server over one transport, a client over another."""

    first = ""
    second = ""

    @inlineCallbacks
    def test_megabytesBothWays(self) -> Inline:
        """Packets of all sizes, cut without regard to them."""
        server = yield self.serve(self.first)
        wire, address = yield self.visit(self.second, server)
        there, back = os.urandom(1_500_000), os.urandom(1_500_000)
        arrived = gatherResults([server.take(address, len(there)), wire.take(len(back))])
        stream = b"".join(slip(address, piece) for piece in pieces(back))
        for piece in pieces(there):
            wire.send(piece)
        for piece in pieces(stream, (65_537, 3, 100_000, 1)):
            server.wire.send(piece)
        self.assertEqual(digests(*(yield arrived)), digests(there, back))

    @inlineCallbacks
    def test_lastWordsToASlowReader(self) -> Inline:
        """A client that reads only after its server has left still gets everything."""
        server = yield self.serve(self.first)
        wire, address = yield self.visit(self.second, server)
        # What waits for a client whose server is there is more than the buffers on the way hold.
        data = os.urandom(1_000_000)
        wire.transport.pauseProducing()
        for piece in pieces(data):
            server.send(address, piece)
        server.wire.leave()
        yield server.wire.gone()
        yield self.eventually(lambda: self.switchboard.servers == 0)
        wire.transport.resumeProducing()
        self.assertEqual(digests((yield wire.end())), digests(data))
        self.assertClosed(wire, 1000, "tunnel partner disconnected")
        wire.leave()
        yield wire.gone()
        yield self.ended(Outcome.PARTNER_LEFT)


class HalfCloseMixin:
    """Stream clients that close only their sending direction."""

    transport = ""

    @inlineCallbacks
    def test_server(self) -> Inline:
        """It has left; its clients still get what it sent."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        data = os.urandom(300_000)
        server.send(address, data)
        server.wire.transport.loseWriteConnection()
        self.assertEqual(digests((yield client.end())), digests(data))
        self.assertClosed(client, 1000, "tunnel partner disconnected")
        yield server.wire.end()
        client.leave()
        yield self.ended(Outcome.CLIENT_LEFT)
        self.assertEqual(self.switchboard.servers, 0)

    @inlineCallbacks
    def test_client(self) -> Inline:
        """It has left; what was on its way, in either direction, still arrives."""
        server = yield self.serve(OTHER[self.transport])
        wire, address = yield self.visit(self.transport, server)
        there, back = os.urandom(300_000), os.urandom(1_000_000)
        wire.transport.pauseProducing()
        server.send(address, back)
        server.call("TunnelProxy.Ping", {"timestamp": 1})
        self.assertEqual((yield server.message())["params"], {"timestamp": 1})
        wire.send(there)
        wire.transport.loseWriteConnection()
        self.assertEqual(digests((yield server.take(address, len(there)))), digests(there))
        yield self.departed(server, address)
        wire.transport.resumeProducing()
        self.assertEqual(digests((yield wire.end())), digests(back))
        yield self.ended(Outcome.CLIENT_LEFT)

    @inlineCallbacks
    def test_clientAtOnce(self) -> Inline:
        """As with ``echo … | nc``: request, payload and end come together."""
        server = yield self.serve(OTHER[self.transport])
        wire = yield self.connector.connect(self.transport)
        wire.send(registerClient() + b"\npayload")
        wire.transport.loseWriteConnection()
        self.assertEqual((yield wire.message()), answer())
        address = yield self.announced(server)
        yield self.departed(server, address)
        self.assertEqual(bytes(server.streams[address]), b"payload")
        yield wire.end()


class WebSocketServerMixin:
    """What only a server over WebSocket has."""

    transport = ""

    @inlineCallbacks
    def test_binary(self) -> Inline:
        """It is sent binary messages, whatever it used itself; it may send packets as text."""
        server = yield self.serve(self.transport, opcode=1)
        client, address = yield self.visit("tcp", server)
        client.send("grüße".encode())
        yield server.take(address, 7)
        server.send(address, b"\xff\xfe\xc0")
        self.assertEqual((yield client.take(3)), b"\xff\xfe\xc0")
        opcodes = [opcode for opcode, _payload in server.wire.messages]
        self.assertEqual(opcodes, [1] + [2] * (len(opcodes) - 1))

    @inlineCallbacks
    def test_framesBehindTheRequest(self) -> Inline:
        """Packets in frames of either type, a ping between, all in the same read, one cut."""
        ping = slip(0, request("Ping", timestamp=1))
        for opcode in 1, 2:
            wire = yield self.connector.connect(self.transport, opcode)
            last = maskedFrame(opcode, ping)
            for cut in 1, 5, 20:
                data = maskedFrame(opcode, registerServer(anyUuid()) + b"\n")
                data += maskedFrame(opcode, ping[:7], fin=False) + maskedFrame(9, b"between")
                data += maskedFrame(0, ping[7:]) + maskedFrame(opcode, b"") + last[:cut]
                wire = yield self.connector.connect(self.transport, opcode)
                wire.sendRaw(data)
                self.assertEqual((yield wire.message()), answer(slipEnabled=True))
                server = Registered(wire)
                self.assertEqual((yield server.message())["params"], {"timestamp": 1})
                yield wire.until(lambda wire=wire: wire.pongs)
                self.assertEqual(wire.pongs, [b"between"])
                wire.sendRaw(last[cut:])
                self.assertEqual((yield server.message())["params"], {"timestamp": 1})

    @inlineCallbacks
    def test_pingAndCloseBehindTheRequest(self) -> Inline:
        """Both are answered, and the server is gone."""
        wire = yield self.connector.connect(self.transport)
        wire.sendRaw(
            maskedFrame(2, registerServer())
            + maskedFrame(9, b"ping")
            + maskedFrame(8, (1000).to_bytes(2, "big"))
        )
        self.assertEqual((yield wire.message()), answer(slipEnabled=True))
        yield wire.gone()
        self.assertEqual(wire.pongs, [b"ping"])
        self.assertEqual(wire.close, (1000, ""))
        yield self.ended(Outcome.CLIENT_LEFT)
        self.assertEqual(self.switchboard.servers, 0)

    @inlineCallbacks
    def test_breach(self) -> Inline:
        """A broken frame ends the server, behind the packets before it."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit("tcp", server)
        server.wire.sendRaw(maskedFrame(2, slip(address, b"last words")) + b"\xf2\x80")
        self.assertEqual((yield client.end()), b"last words")
        yield server.wire.end()
        self.assertEqual(server.wire.close[0], 1002)
        server.wire.leave()
        yield self.ended(Outcome.WEBSOCKET_PROTOCOL_ERROR)


class WebSocketClientMixin:
    """What only a client over WebSocket has."""

    transport = ""

    @inlineCallbacks
    def test_text(self) -> Inline:
        """Who asked in text gets text, cut between characters; what is no UTF-8 is binary."""
        server = yield self.serve("tcp")
        wire, address = yield self.visit(self.transport, server, opcode=1)
        seen = len(wire.messages)
        text = "grüße".encode()
        server.send(address, text[:3])
        yield wire.until(lambda: wire.messages[seen:])
        server.send(address, text[3:])
        yield wire.until(lambda: len(wire.messages) == seen + 2)
        self.assertEqual(wire.messages[seen:], [(1, b"gr"), (1, text[2:])])
        server.send(address, b"\xff\xfe")
        yield wire.until(lambda: len(wire.messages) == seen + 3)
        self.assertEqual(wire.messages[seen + 2], (2, b"\xff\xfe"))
        server.send(address, b"end\xc3")
        server.call("TunnelProxy.DisconnectClient", {"socketAddress": address})
        yield wire.end()
        self.assertEqual(wire.messages[seen + 3 :], [(1, b"end"), (2, b"\xc3")])

    @inlineCallbacks
    def test_muchText(self) -> Inline:
        """Every message of it is valid, however the server's packets are cut."""
        server = yield self.serve("tcp")
        wire, address = yield self.visit(self.transport, server, opcode=1)
        seen = len(wire.messages)
        text = "añ€😀".encode() * 30_000
        for piece in pieces(text, (1, 2, 3, 1001, 70_001)):
            server.send(address, piece)
        self.assertEqual(digests((yield wire.take(len(text)))), digests(text))
        for opcode, payload in wire.messages[seen:]:
            self.assertEqual(opcode, 1)
            payload.decode()

    @inlineCallbacks
    def test_unfinishedCharacterIsNotHeldForever(self) -> Inline:
        server = yield self.serve("tcp")
        wire, address = yield self.visit(self.transport, server, opcode=1)
        seen = len(wire.messages)
        server.send(address, b"\xe2")
        yield wire.until(lambda: wire.messages[seen:])
        self.assertEqual(wire.messages[seen:], [(2, b"\xe2")])

    @inlineCallbacks
    def test_binary(self) -> Inline:
        """Who asked in binary messages gets nothing else; the last request counts."""
        server = yield self.serve("tcp")
        wire = yield self.connector.connect(self.transport, 1)
        wire.call("RemoteProxy.Hello")
        yield wire.message()
        wire.opcode = 2
        self.ask(wire)
        yield wire.message()
        address = yield self.announced(server)
        server.send(address, b"text")
        yield wire.take(4)
        self.assertEqual([opcode for opcode, _payload in wire.messages], [1, 1, 2])

    @inlineCallbacks
    def test_framesBehindTheRequest(self) -> Inline:
        """Payload in the same read, with a ping between, and cut in the middle of a frame."""
        server = yield self.serve("tcp")
        for opcode in 1, 2:
            last = maskedFrame(opcode, b"rest")
            for cut in 1, 5, 8:
                data = maskedFrame(opcode, registerClient()) + maskedFrame(opcode, b"pay", False)
                data += maskedFrame(9, b"between") + maskedFrame(0, b"load") + last[:cut]
                wire = yield self.connector.connect(self.transport, opcode)
                wire.sendRaw(data)
                self.assertEqual((yield wire.message()), answer())
                address = yield self.announced(server)
                self.assertEqual((yield server.take(address, 7)), b"payload")
                yield wire.until(lambda wire=wire: wire.pongs)
                self.assertEqual(wire.pongs, [b"between"])
                wire.sendRaw(last[cut:])
                self.assertEqual((yield server.take(address, 4)), b"rest")

    @inlineCallbacks
    def test_breach(self) -> Inline:
        """A broken frame ends the client, behind what it sent before."""
        server = yield self.serve("tcp")
        wire, address = yield self.visit(self.transport, server)
        wire.sendRaw(maskedFrame(2, b"last words") + b"\xf2\x80")
        yield self.departed(server, address)
        self.assertEqual(bytes(server.streams[address]), b"last words")
        yield wire.end()
        self.assertEqual(wire.close[0], 1002)
        wire.leave()
        yield self.ended(Outcome.WEBSOCKET_PROTOCOL_ERROR)


class Watched(Backlog):
    """Remembers the most that ever waited for clients."""

    __slots__ = ("_now", "peak")

    def __init__(self, terms: Terms) -> None:
        self.peak = 0
        super().__init__(terms.clientBacklog, terms.totalBacklog, terms.clientPatience)

    @property
    def total(self) -> int:
        return self._now

    @total.setter
    def total(self, value: int) -> None:
        self._now = value
        self.peak = max(self.peak, value)


def unsent(record: Record) -> int:
    """Return how many bytes a connection's transport holds that the kernel did not take."""
    lowest = record.client.transport.lowest._lowest
    return len(lowest.dataBuffer) - lowest.offset + lowest._tempDataLen


class PressureMixin:
    """Those that do not keep up; the server is connection 1, its clients are 2 and 3."""

    transport = ""
    terms = Terms(clientBacklog=1 << 20, clientPatience=0.4)
    flood = os.urandom(40_000)

    def setUp(self) -> Any:
        super().setUp()
        self.backlog = self.switchboard._backlog = Watched(self.terms)

    @inlineCallbacks
    def tearDown(self) -> Inline:
        yield super().tearDown()
        self.assertEqual(self.backlog.total, 0)

    @inlineCallbacks
    def three(self, server: str, client: str) -> Inline:
        """Connect a server and two clients, of which the first does not read."""
        server = yield self.serve(server)
        deaf, first = yield self.visit(client, server)
        other, second = yield self.visit("tcp", server)
        deaf.transport.pauseProducing()
        return server, deaf, first, other, second


class DeafClientMixin(PressureMixin):
    """A client that reads nothing."""

    @inlineCallbacks
    def test_neverReads(self) -> Inline:
        """It costs little memory, and then its place; the other client loses nothing."""
        server, deaf, first, other, second = yield self.three(OTHER[self.transport], self.transport)
        packet = slip(first, self.flood)
        count = 250
        for number in range(count):
            server.wire.send(packet)
            server.send(second, b"%6d" % number)
        yield self.eventually(lambda: self.record(1).client.unread)
        self.assertLess(unsent(self.record(2)), 2 * SLICE_SIZE)
        received = yield other.take(6 * count)
        self.assertEqual(received, b"".join(b"%6d" % number for number in range(count)))
        yield self.departed(server, first)
        self.assertGreater(self.backlog.peak, self.terms.clientBacklog)
        slack = READ_SIZE + 2 * len(packet)
        self.assertLess(self.backlog.peak, self.terms.clientBacklog + slack)
        self.assertEqual(self.backlog.total, 0)
        self.assertEqual(self.switchboard.clients, 1)
        yield self.works(server, other, second)
        deaf.transport.resumeProducing()
        received = yield deaf.end()
        self.assertTrue((self.flood * count).startswith(received))
        self.assertClosed(deaf, 1008, "too slow")
        deaf.leave()
        yield deaf.gone()
        yield self.ended(Outcome.CLIENT_TOO_SLOW)

    @inlineCallbacks
    def test_neverReadsAndIsDisconnected(self) -> Inline:
        """Its server goes on at once when it gives it up itself."""
        server, deaf, first, other, second = yield self.three(OTHER[self.transport], self.transport)
        for _ in range(20):
            server.send(first, self.flood)
        server.call("TunnelProxy.DisconnectClient", {"socketAddress": first})
        self.assertEqual((yield server.message()), answer())
        yield self.departed(server, first)
        yield self.works(server, other, second)
        deaf.transport.resumeProducing()
        self.assertEqual(digests((yield deaf.end())), digests(self.flood * 20))
        self.assertClosed(deaf, 1000, "disconnected by the server")

    @inlineCallbacks
    def test_neverReadsAndIsLost(self) -> Inline:
        """The server goes on at once when it is gone."""
        server, deaf, first, other, second = yield self.three(OTHER[self.transport], self.transport)
        for _ in range(200):
            server.send(first, self.flood)
        server.send(second, b"behind the flood")
        yield self.eventually(lambda: self.record(1).client.unread)
        deaf.transport.abortConnection()
        yield self.departed(server, first)
        self.assertEqual((yield other.take(16)), b"behind the flood")
        yield self.works(server, other, second)


class SlowClientMixin(PressureMixin):
    """A client that is behind for a while, and has all the time it wants."""

    terms = Terms(clientBacklog=1 << 20, clientPatience=60)

    @inlineCallbacks
    def test_littleBehind(self) -> Inline:
        """Its server and the other client do not notice."""
        server, deaf, first, other, second = yield self.three(OTHER[self.transport], self.transport)
        for _ in range(20):
            server.send(first, self.flood)
        yield self.works(server, other, second)
        self.assertFalse(self.record(1).client.unread)
        self.assertGreater(self.backlog.total, 0)
        deaf.transport.resumeProducing()
        received = yield deaf.take(20 * len(self.flood))
        self.assertEqual(digests(received), digests(self.flood * 20))
        yield self.works(server, deaf, first)

    @inlineCallbacks
    def test_farBehind(self) -> Inline:
        """It slows its server, is not cut off, and loses nothing."""
        server, deaf, first, other, second = yield self.three(OTHER[self.transport], self.transport)
        data = os.urandom(8_000_000)
        for start in range(0, len(data), 100_000):
            server.send(first, data[start : start + 100_000])
        server.send(second, b"behind the flood")
        yield self.eventually(lambda: self.record(1).client.unread)
        deaf.transport.resumeProducing()
        self.assertEqual(digests((yield deaf.take(len(data)))), digests(data))
        self.assertEqual((yield other.take(16)), b"behind the flood")
        yield self.works(server, deaf, first)
        self.assertEqual(self.proxy.registry.counts.outcomes, {})


class LeftBehindMixin(PressureMixin):
    """A client that is behind when its server leaves, and reads on, a little at a time."""

    timing = Timing(close=20.0)
    terms = Terms(clientPatience=0.3)

    @inlineCallbacks
    def test_serverLeaves(self) -> Inline:
        """Everything that was sent before arrives, however often the client pauses."""
        server, slow, first, other, _second = yield self.three(
            OTHER[self.transport], self.transport
        )
        data = os.urandom(3_000_000)
        for start in range(0, len(data), 100_000):
            server.send(first, data[start : start + 100_000])
        server.wire.leave()
        yield other.end()
        while not (slow.ended or slow.lost):
            slow.transport.resumeProducing()
            size = len(slow.payload) + 100_000
            yield slow.until(lambda size=size: len(slow.payload) >= size or slow.ended or slow.lost)
            if not slow.lost:
                slow.transport.pauseProducing()
            yield deferLater(reactor, 0.03)
        self.assertEqual(len(slow.payload), len(data))
        self.assertEqual(digests(bytes(slow.payload)), digests(data))
        self.assertClosed(slow, 1000, "tunnel partner disconnected")


class DeafServerMixin(PressureMixin):
    """A server that reads nothing."""

    terms = Terms()

    @inlineCallbacks
    def test_neverReads(self) -> Inline:
        """Its clients are slowed, and no new one is let in; when it reads, nothing is lost."""
        server = yield self.serve(self.transport)
        clients = []
        for _ in range(20):
            client, address = yield self.visit(OTHER[self.transport], server)
            clients.append((client, address, os.urandom(400_000)))
        server.wire.transport.pauseProducing()
        for client, _address, data in clients:
            client.send(data)
        end = self.end()
        yield self.eventually(lambda: end.isStalled)
        peak = unsent(self.record(1))
        self.assertLess(peak, SERVER_BACKLOG + 4 * READ_SIZE)
        self.assertTrue(all(self.record(number).client.unread for number in range(2, 22)))
        late = yield self.connector.connect(OTHER[self.transport])
        self.ask(late)
        yield self.refused(late, "InternalServerError", 1013, Outcome.SERVER_STALLED)
        self.assertEqual(unsent(self.record(1)), peak)
        server.wire.transport.resumeProducing()
        for client, address, data in clients:
            self.assertEqual(digests((yield server.take(address, len(data)))), digests(data))
            yield self.works(server, client, address)

    @inlineCallbacks
    def test_asksAndNeverReads(self) -> Inline:
        """Answers are much larger than questions, so only a few may wait; none is lost."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        server.wire.transport.pauseProducing()
        count = 3000
        question = b'{"id":1,"method":"RemoteProxy.Introspect"}'
        server.send(0, question * count)
        server.send(address, b"behind the questions")
        yield self.eventually(lambda: self.record(1).client.blocked)
        yield self.eventually(lambda: self.record(1).client.unread)
        self.assertLess(unsent(self.record(1)), SERVER_BACKLOG + READ_SIZE)
        server.wire.transport.resumeProducing()
        for _ in range(count):
            response = yield server.message()
            self.assertEqual(response["status"], "success")
        self.assertEqual((yield client.take(20)), b"behind the questions")
        yield self.works(server, client, address)


class LivenessMixin:
    """A registered server has to say something now and then."""

    transport = ""
    terms = Terms(serverTimeout=0.4, clientBacklog=1 << 20, clientPatience=60)

    @inlineCallbacks
    def chat(self, server: Registered) -> Inline:
        """Let a server ping until it is closed."""
        while not server.wire.ended:
            server.call("TunnelProxy.Ping", {"timestamp": 1})
            yield server.until(lambda: server.messages or server.wire.ended or server.wire.lost)
            server.messages.clear()
            yield deferLater(reactor, 0.02)

    @inlineCallbacks
    def test_silent(self) -> Inline:
        """It is taken for dead, its clients are told; one that pings is left alone."""
        talker = yield self.serve(OTHER[self.transport], anyUuid())
        chatting = self.chat(talker)
        server = yield self.serve(self.transport)
        client, _address = yield self.visit(OTHER[self.transport], server)
        client.send(b"this is no sign of the server's life")
        yield server.wire.end()
        self.assertClosed(server.wire, 1008, "nothing received for too long")
        yield self.left(client)
        server.wire.leave()
        yield self.ended(Outcome.SERVER_SILENT)
        self.assertFalse(talker.wire.lost or talker.wire.ended)
        self.assertEqual(self.switchboard.servers, 1)
        talker.wire.leave()
        talker.wire.ended = True
        yield chatting

    @inlineCallbacks
    def test_heldUp(self) -> Inline:
        """It is not to blame for silence while it is not read from for the sake of a client."""
        server = yield self.serve(self.transport)
        client, address = yield self.visit(OTHER[self.transport], server)
        client.transport.pauseProducing()
        for _ in range(20):
            server.send(address, bytes(1_000_000))
            yield deferLater(reactor, 0)
        yield self.eventually(lambda: self.record(1).client.unread)
        clock = yield self.serve(self.transport, anyUuid())
        yield clock.wire.end()
        clock.wire.leave()
        yield self.ended(Outcome.SERVER_SILENT)
        client.transport.resumeProducing()
        yield client.take(20_000_000)
        yield self.works(server, client, address)


class InactiveMixin:
    """A connection that registers as nothing."""

    transport = ""
    timing = Timing(inactive=0.2, close=1.0)

    @inlineCallbacks
    def test_inactive(self) -> Inline:
        """It is closed; who has registered has all the time in the world."""
        server = yield self.serve(OTHER[self.transport])
        client, address = yield self.visit(self.transport, server)
        wire = yield self.connector.connect(self.transport)
        yield self.closed(wire, 1008, Outcome.INACTIVE_TIMEOUT)
        yield self.works(server, client, address)


class CrowdMixin:
    """Very many clients of one server."""

    transport = ""
    timeout = 60
    count = 1000

    @inlineCallbacks
    def test_crowd(self) -> Inline:
        """All come at once, say something, get an answer, and leave at once."""
        server = yield self.serve(OTHER[self.transport])

        @inlineCallbacks
        def come(number: int) -> Inline:
            wire = yield self.connector.connect(self.transport)
            wire.sendRaw(registerClient() + b"\n%6d" % number)
            self.assertEqual((yield wire.message()), answer())
            return wire

        coming = gatherResults([come(number) for number in range(self.count)])
        said: dict[bytes, int] = {}
        for _ in range(self.count):
            address = yield self.announced(server)
            said[(yield server.take(address, 6))] = address
        wires = yield coming
        self.assertEqual(set(said), {b"%6d" % number for number in range(self.count)})
        self.assertEqual(self.switchboard.clients, self.count)
        for number, address in said.items():
            server.send(address, b"to" + number)
        for number, wire in enumerate(wires):
            self.assertEqual((yield wire.take(8)), b"to%6d" % number)
        for number, wire in enumerate(wires):
            wire.transport.abortConnection() if number % 2 else wire.leave()
        gone = set()
        for _ in range(self.count):
            message = yield server.message()
            self.assertEqual(message["notification"], "TunnelProxy.ClientDisconnected")
            gone.add(message["params"]["socketAddress"])
        self.assertEqual(gone, set(said.values()))
        self.assertEqual(self.switchboard.clients, 0)
        yield self.eventually(lambda: self.proxy.registry.gate.connections == 1)

    @inlineCallbacks
    def test_serverLeavesCrowd(self) -> Inline:
        """All of them are told."""
        server = yield self.serve(OTHER[self.transport])
        clients = []
        for _ in range(200):
            clients.append((yield self.visit(self.transport, server))[0])
        server.wire.transport.abortConnection()
        for client in clients:
            yield client.end()
            client.leave()
        yield self.ended(Outcome.PARTNER_LEFT, len(clients))


class RoomMixin:
    """A server takes no more clients than it may."""

    transport = ""
    terms = Terms(clientsPerServer=2)

    @inlineCallbacks
    def test_clientsPerServer(self) -> Inline:
        """One too many is told to try again later, and may when another one has left."""
        server = yield self.serve(OTHER[self.transport])
        one, first = yield self.visit(self.transport, server)
        two, second = yield self.visit(self.transport, server)
        three = yield self.connector.connect(self.transport)
        self.ask(three)
        outcome = Outcome.TOO_MANY_CLIENTS_OF_SERVER
        yield self.refused(three, "InternalServerError", 1013, outcome)
        one.leave()
        yield self.departed(server, first)
        three, third = yield self.visit(self.transport, server)
        yield self.works(server, two, second)
        yield self.works(server, three, third)


ENDS = (ServerEnd, ClientEnd, *ALIVE)


class GarbageMixin(NoCollectorMixin):
    """What is over leaves no reference cycles."""

    transport = ""
    timeout = 60
    watched = ENDS

    @inlineCallbacks
    def test_clientLeaves(self) -> Inline:
        server = yield self.serve(OTHER[self.transport])
        for abort in False, True:
            wire, address = yield self.visit(self.transport, server)
            yield self.works(server, wire, address)
            wire.transport.abortConnection() if abort else wire.leave()
            yield self.departed(server, address)
            yield wire.gone()
            yield self.gone(ClientEnd)

    @inlineCallbacks
    def test_serverLeaves(self) -> Inline:
        for abort in False, True:
            server = yield self.serve(self.transport)
            wire, address = yield self.visit(OTHER[self.transport], server)
            yield self.works(server, wire, address)
            server.wire.transport.abortConnection() if abort else server.wire.leave()
            yield wire.end()
            wire.leave()
            yield gatherResults([wire.gone(), server.wire.gone()])
            del server, wire
            yield self.gone(*ENDS)


def _add(name: str, *bases: type, **members: object) -> None:
    globals()[name] = type(name, bases, {**members, "__module__": __name__})


def _suites() -> None:
    """Make test classes for every transport, and for every pair of transports."""
    for transport in TRANSPORTS:
        name = transport.capitalize()
        _add(f"{name}OffTests", OffMixin, Served, transport=transport)
        mixins: list[type] = [BeginningMixin, RegistrationMixin]
        _add(f"{name}RegistrationTests", *mixins, Switched, transport=transport)
        for role, mixin in (
            ("Server", ServerMixin),
            ("Client", ClientMixin),
            ("PacketSize", PacketSizeMixin),
            ("DeafClient", DeafClientMixin),
            ("SlowClient", SlowClientMixin),
            ("LeftBehind", LeftBehindMixin),
            ("DeafServer", DeafServerMixin),
            ("Liveness", LivenessMixin),
            ("Inactive", InactiveMixin),
            ("Room", RoomMixin),
            ("Garbage", GarbageMixin),
        ):
            _add(f"{name}{role}Tests", mixin, Switched, transport=transport)
        if transport in ("ws", "wss"):
            _add(f"{name}FramedServerTests", WebSocketServerMixin, Switched, transport=transport)
            _add(f"{name}FramedClientTests", WebSocketClientMixin, Switched, transport=transport)
        else:
            _add(f"{name}LineEndTests", StreamBeginningMixin, Switched, transport=transport)
        if transport in ("tcp", "unix"):
            _add(f"{name}HalfCloseTests", HalfCloseMixin, Switched, transport=transport)
        for second in TRANSPORTS:
            pair = f"{name}With{second.capitalize()}Tests"
            _add(pair, PairMixin, Switched, first=transport, second=second)
    _add("CrowdTests", CrowdMixin, Switched, transport="tcp")


_suites()
