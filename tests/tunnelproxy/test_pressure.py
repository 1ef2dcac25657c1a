"""Servers and clients that do not keep up, over every transport."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater

from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy import serverend
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE
from nymearemoteproxy.tunnelproxy.serverend import SERVER_BACKLOG
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.direct import READ_SIZE
from tests.support.served import OTHER, PLAYED
from tests.support.switched import (
    Switched,
    add,
    answer,
    digests,
)
from tests.support.wires import Inline, reactor, slip

LITTLE = 64 << 10
"""Bytes: twenty clients send more than that with their first reads, however small these are."""


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
    """Those that do not keep up; the server is connection 1, its clients are 2 and 3.

    The patience is longer than a turn of the reactor can take on a busy machine: what comes before
    its end has to be seen.
    """

    transport = ""
    terms = Terms(clientBacklog=1 << 20, clientPatience=2.0)
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
        deaf.deafen()
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

    terms = Terms(clientBacklog=4 << 20, clientPatience=60)

    @inlineCallbacks
    def test_littleBehind(self) -> Inline:
        """Its server and the other client do not notice."""
        server, deaf, first, other, second = yield self.three(OTHER[self.transport], self.transport)
        for _ in range(60):
            server.send(first, self.flood)
        yield self.works(server, other, second)
        self.assertFalse(self.record(1).client.unread)
        self.assertGreater(self.backlog.total, 0)
        deaf.transport.resumeProducing()
        received = yield deaf.take(60 * len(self.flood))
        self.assertEqual(digests(received), digests(self.flood * 60))
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
        self.assertEqual(self.proxy.registry.counters.outcomes, {})


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


class UnwantedClientMixin(PressureMixin):
    """A client of which its server wants nothing for now."""

    @inlineCallbacks
    def test_waits(self) -> Inline:
        """It waits, and nobody else does; when it is wanted again, nothing is lost."""
        server = yield self.serve(OTHER[self.transport])
        client, first = yield self.visit(self.transport, server)
        other, second = yield self.visit("tcp", server)
        server.call("TunnelProxy.PauseClient", {"socketAddress": first})
        self.assertEqual((yield server.message()), answer())
        data = os.urandom(2_000_000)
        client.send(data)
        yield self.eventually(lambda: self.record(2).client.unread)
        yield self.works(server, other, second)
        server.send(first, b"for who waits")
        self.assertEqual((yield client.take(13)), b"for who waits")
        server.call("TunnelProxy.ResumeClient", {"socketAddress": first})
        self.assertEqual((yield server.message()), answer())
        self.assertEqual(digests((yield server.take(first, len(data)))), digests(data))
        yield self.works(server, client, first)


class DeafServerMixin(PressureMixin):
    """A server that reads nothing.

    :cvar size: bytes of each client, more than what is on the way holds.
    """

    terms = Terms()
    size = 400_000

    @inlineCallbacks
    def test_neverReads(self) -> Inline:
        """Its clients are slowed, and no new one is let in; when it reads, nothing is lost."""
        # Each client is paused after one read, which on a slow machine brings little.
        self.patch(serverend, "SERVER_BACKLOG", LITTLE)
        server = yield self.serve(self.transport)
        clients = []
        for _ in range(20):
            client, address = yield self.visit(OTHER[self.transport], server)
            clients.append((client, address, os.urandom(self.size)))
        server.wire.deafen()
        for client, _address, data in clients:
            client.send(data)
        end = self.end()
        yield self.eventually(lambda: end.isStalled)
        legs = [self.record(number).client for number in range(2, 22)]
        yield self.eventually(lambda: all(leg.unread for leg in legs))
        peak = unsent(self.record(1))
        self.assertLess(peak, LITTLE + 4 * READ_SIZE)
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
        server.wire.deafen()
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


def _suites() -> None:
    """Make test classes for every transport."""
    for transport in PLAYED:
        name = transport.capitalize()
        for role, mixin in (
            ("DeafClient", DeafClientMixin),
            ("SlowClient", SlowClientMixin),
            ("LeftBehind", LeftBehindMixin),
            ("DeafServer", DeafServerMixin),
            ("UnwantedClient", UnwantedClientMixin),
        ):
            add(globals(), f"{name}{role}Tests", mixin, Switched, transport=transport)


_suites()
