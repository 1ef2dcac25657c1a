"""What is relayed between servers and clients, over every transport and mixed pairs of them."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.served import OTHER, PLAYED, TRANSPORTS
from tests.support.switched import (
    CLIENT,
    Switched,
    add,
    answer,
    anyUuid,
    digests,
    pieces,
    registerClient,
    registerServer,
    request,
)
from tests.support.wires import Inline, Registered, maskedFrame, slip


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
        stopped = self.proxy.registry.dismissal.dismissAll()
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
        self.assertEqual(self.proxy.registry.counters.outcomes, {Outcome.SHUTDOWN: 6})


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


def _suites() -> None:
    """Make test classes for every transport, and for every pair of transports."""
    for transport in PLAYED:
        name = transport.capitalize()
        for role, mixin in (
            ("Server", ServerMixin),
            ("Client", ClientMixin),
            ("PacketSize", PacketSizeMixin),
        ):
            add(globals(), f"{name}{role}Tests", mixin, Switched, transport=transport)
        if transport in ("ws", "wss"):
            for role, mixin in (
                ("FramedServer", WebSocketServerMixin),
                ("FramedClient", WebSocketClientMixin),
            ):
                add(globals(), f"{name}{role}Tests", mixin, Switched, transport=transport)
        if transport in ("tcp", "unix"):
            add(globals(), f"{name}HalfCloseTests", HalfCloseMixin, Switched, transport=transport)
        for second in TRANSPORTS:
            pair = f"{name}With{second.capitalize()}Tests"
            add(globals(), pair, PairMixin, Switched, first=transport, second=second)


_suites()
