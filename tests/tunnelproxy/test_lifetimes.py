"""How long registrations last, how many there may be, and what is left of them: on real sockets."""

from __future__ import annotations

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import deferLater

from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.clientend import ClientEnd
from nymearemoteproxy.tunnelproxy.serverend import ServerEnd
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.served import ALIVE, OTHER, PLAYED, NoCollectorMixin
from tests.support.switched import (
    Switched,
    add,
    answer,
    anyUuid,
    registerClient,
)
from tests.support.wires import Inline, Registered, reactor


class LivenessMixin:
    """A registered server has to say something now and then."""

    transport = ""
    terms = Terms(serverTimeout=1.5, clientBacklog=1 << 20, clientPatience=60)

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
        client.deafen()
        for _ in range(20):
            server.send(address, bytes(1_000_000))
            yield deferLater(reactor, 0)
        yield self.eventually(lambda: self.record(1).client.unread)
        clock = yield self.serve(self.transport, anyUuid())
        yield clock.wire.end()
        clock.wire.leave()
        yield self.ended(Outcome.SERVER_SILENT)
        client.transport.resumeProducing()
        chatting = self.chat(server)  # it is read from again, which a slow machine takes time for
        yield client.take(20_000_000)
        yield self.works(server, client, address)
        server.wire.leave()
        server.wire.ended = True
        yield chatting


class InactiveMixin:
    """A connection that registers as nothing."""

    transport = ""
    timing = Timing(inactive=1.0, close=1.0)

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
    timeout = 300
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


def _suites() -> None:
    """Make test classes for every transport."""
    for transport in PLAYED:
        name = transport.capitalize()
        for role, mixin in (
            ("Liveness", LivenessMixin),
            ("Inactive", InactiveMixin),
            ("Room", RoomMixin),
            ("Garbage", GarbageMixin),
        ):
            add(globals(), f"{name}{role}Tests", mixin, Switched, transport=transport)
    add(globals(), "CrowdTests", CrowdMixin, Switched, transport="tcp")


_suites()
