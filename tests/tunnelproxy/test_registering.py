"""How a connection is registered and what else it may ask before, over every transport."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater

from nymearemoteproxy.protocol.outcomes import Outcome
from tests.support.served import OTHER, PLAYED, Served
from tests.support.switched import (
    CLIENT,
    ERRORS,
    METHODS,
    NOTIFICATIONS,
    NULL,
    SERVER,
    Switched,
    add,
    answer,
    anyUuid,
    registerClient,
    registerServer,
    request,
)
from tests.support.wires import Inline, Registered, maskedFrame, reactor, slip


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
        self.assertEqual(
            method["params"],
            {
                "serverName": "String",
                "serverUuid": "Uuid",
                "o:flowControl": "Bool",
                "o:front": "Bool",
                "o:lengthPrefixed": "Bool",
                "o:token": "String",
            },
        )
        self.assertEqual(
            method["returns"],
            {
                "tunnelProxyError": "$ref:TunnelProxyError",
                "slipEnabled": "Bool",
                "o:flowControl": "Bool",
                "o:lengthPrefixed": "Bool",
                "o:authenticationError": "$ref:AuthenticationError",
            },
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
            ("RegisterServer", {"serverName": "", "serverUuid": SERVER, "nonce": ""}, "nonce"),
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


def _suites() -> None:
    """Make test classes for every transport."""
    for transport in PLAYED:
        name = transport.capitalize()
        add(globals(), f"{name}OffTests", OffMixin, Served, transport=transport)
        mixins: list[type] = [BeginningMixin, RegistrationMixin]
        add(globals(), f"{name}RegistrationTests", *mixins, Switched, transport=transport)
        if transport not in ("ws", "wss"):
            add(
                globals(),
                f"{name}LineEndTests",
                StreamBeginningMixin,
                Switched,
                transport=transport,
            )


_suites()
