"""Who is connected to the admin endpoint, and who makes room for others."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.logger import globalLogPublisher
from zope.interface.verify import verifyObject

from nymearemoteproxy.common import tally
from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.connections.limits import MOST_ADMIN_CONNECTIONS
from nymearemoteproxy.watching.admin import seats, web
from nymearemoteproxy.watching.admin.web import text
from nymearemoteproxy.wires.direct import DirectTransport
from nymearemoteproxy.wires.introduction import IntroductionFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from tests.support.adminhttp import GET, WebCase, address
from tests.support.memory import Pipe


class PlacesTests(WebCase):
    """Seats, and how they are left."""

    def fill(self) -> list[Pipe]:
        """Take all seats, from different addresses."""
        return [self.connect(address(last)) for last in range(1, MOST_ADMIN_CONNECTIONS + 1)]

    def test_idleOnesMakeRoom(self) -> None:
        """When all seats are taken, the one that waits longest goes."""
        pipes = self.fill()
        pipes[0].receive(GET)
        self.clock.advance(1)
        for last in (100, 101):
            self.connect(address(last)).receive(GET)
        self.assertEqual([pipe.lost for pipe in pipes[:4]], [False, True, True, False])
        self.assertEqual(len(self.factory.protocols), MOST_ADMIN_CONNECTIONS)

    def test_crowdsMakeRoom(self) -> None:
        """Many connections from few addresses displace each other, and nobody else's."""
        probe = self.connect(address(200))
        for number in range(10 * MOST_ADMIN_CONNECTIONS):
            self.connect(address(number % (MOST_ADMIN_CONNECTIONS // 2)))
        self.assertFalse(probe.lost)
        self.assertEqual(len(self.factory.protocols), MOST_ADMIN_CONNECTIONS)

    def test_theKnownStay(self) -> None:
        """Strangers make room for each other, and not those who gave a password, however many."""
        self.known.update(("192.0.2.200", "192.0.2.201"))
        known = [self.connect(address(last)) for last in (200, 201, 201)]
        for number in range(10 * MOST_ADMIN_CONNECTIONS):
            self.connect(address(number % 199))
        self.assertFalse(any(pipe.lost for pipe in known))
        self.assertEqual(len(self.factory.protocols), MOST_ADMIN_CONNECTIONS)

    def test_onlyTheKnown(self) -> None:
        """Among themselves it is as it is among strangers."""
        self.known.update(f"192.0.2.{last}" for last in range(256))
        pipes = self.fill()
        self.connect(address(100))
        self.assertEqual([pipe.lost for pipe in pipes[:2]], [True, False])

    def test_slowOnesMakeRoom(self) -> None:
        """Bytes alone are no step: neither of a request nor of a response that is not taken."""
        pipes = self.fill()
        for pipe in pipes:
            pipe.full = True
            pipe.receive(GET)
        self.clock.advance(1)
        pipes[0].receive(b"G")
        self.assertEqual(len(self.asked), len(pipes))
        self.connect(address(100))
        self.assertEqual([pipe.lost for pipe in pipes[:3]], [True, False, False])

    def test_workInHandStays(self) -> None:
        """Those that wait for us are closed last."""
        self.result = Deferred
        busy = [self.connect(address(last)) for last in range(1, MOST_ADMIN_CONNECTIONS)]
        for pipe in busy:
            pipe.receive(GET)
        idle = self.connect(address(99))
        self.connect(address(100)).receive(GET)
        self.assertEqual((idle.lost, busy[0].lost), (True, False))
        self.connect(address(101))
        self.assertEqual([pipe.lost for pipe in busy[:2]], [True, False])

    def test_fromOneAddress(self) -> None:
        """It has to do with half of them; its own make room. The same for loopback."""
        for number, host in enumerate(("127.0.0.1", "192.0.2.1", "::1", "2001:db8::1")):
            others = [self.connect(address(99)) for _ in range(5)]
            here: IAddress = IPv4Address("TCP", host, number)
            pipes = [self.connect(here) for _ in range(seats.MOST_FROM_ADDRESS + 1)]
            self.assertEqual(
                [pipe.lost for pipe in pipes], [True] + [False] * seats.MOST_FROM_ADDRESS, host
            )
            self.assertFalse(any(pipe.lost for pipe in others))
            for pipe in pipes[1:] + others:
                pipe.lose(ConnectionDone())
        self.assertEqual(self.factory.protocols, {})

    def test_unixSocket(self) -> None:
        """It has no addresses, so only the limit of all applies."""
        pipes = [self.connect(UNIXAddress("x")) for _ in range(MOST_ADMIN_CONNECTIONS + 1)]
        self.assertEqual([pipe.lost for pipe in pipes], [True] + [False] * MOST_ADMIN_CONNECTIONS)

    def test_aCrowdIsLoggedSeldom(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for _ in range(500):
            self.connect()
        self.clock.advance(tally.INTERVAL)
        self.assertEqual(len(events), 2)
        self.assertEqual(events[0]["source"], "192.0.2.1")
        self.assertEqual(events[1]["count"], 500 - seats.MOST_FROM_ADDRESS - 1)

    def test_handshakes(self) -> None:
        """They are costly: so many a second, from one address and from all."""
        factory = self.seats(secure=True)

        def taken(addresses: Iterable[IAddress]) -> int:
            return sum(factory.buildProtocol(one) is not None for one in addresses)

        self.assertEqual(taken([address()] * 100), seats.HANDSHAKES_FROM_ADDRESS)
        others = [address(last) for last in range(2, 200)]
        self.assertEqual(taken(others), seats.HANDSHAKES - seats.HANDSHAKES_FROM_ADDRESS)
        self.assertEqual(taken([UNIXAddress("x")]), 0)
        self.clock.advance(0.1)
        self.assertEqual(taken(others), seats.HANDSHAKES // 10)

    def test_handshakesOfTheKnown(self) -> None:
        """Strangers do not use them up, but there are only so many from one address."""
        self.known.add("192.0.2.200")
        factory = self.seats(secure=True)
        for last in range(1, 199):
            factory.buildProtocol(address(last))
        shaken = [factory.buildProtocol(address(200)) is not None for _ in range(100)]
        self.assertEqual(shaken.count(True), seats.HANDSHAKES_FROM_ADDRESS)

    def test_unfinishedHandshake(self) -> None:
        """However slowly it goes on, there is an end to it, though nothing is asked."""
        secured = TlsFactory(ServerContexts(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), self.factory)
        pipe = Pipe(address())
        pipe.protocol = DirectTransport(secured.buildProtocol(address()))
        pipe.protocol.makeConnection(pipe)
        for octet in b"\x16\x03\x01\x02\x00\x01":  # a ClientHello begins
            pipe.receive(bytes([octet]))
            self.assertFalse(pipe.lost)
            self.clock.advance(web.ARRIVE / 6)
        self.assertTrue(pipe.lost)

    def test_standsStill(self) -> None:
        """What a client sent meanwhile is not too late."""
        self.waking.start()
        self.addCleanup(self.waking.stop)
        pipe = self.connect()
        self.clock.advance(2 * web.ARRIVE)
        pipe.receive(GET)
        self.assertIn(b" 200 OK", pipe.take())

    def test_withoutTls(self) -> None:
        """A connection that costs nothing is not refused."""
        for _ in range(10 * seats.HANDSHAKES):
            self.assertIsNotNone(self.factory.buildProtocol(address()))

    def test_closeAll(self) -> None:
        """In an orderly way; whoever does not take his response is cut off soon."""
        idle, slow = self.connect(), self.connect()
        slow.full = True
        slow.receive(GET)
        self.factory.closeAll()
        self.factory.closeAll()
        self.assertEqual([pipe.disconnecting for pipe in (idle, slow)], [True, True])
        idle.lose(ConnectionDone())
        self.assertFalse(slow.lost)
        self.clock.advance(seats.CLOSE)
        self.assertTrue(slow.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_doesNotClose(self) -> None:
        """A client that does not take its last response is cut off."""
        pipe = self.connect()
        pipe.receive(b"GET / HTTP/1.0\r\n\r\n")
        self.clock.advance(seats.CLOSE)
        self.assertTrue(pipe.lost)

    def test_producer(self) -> None:
        """What the channel and the transport expect of it, beyond what they use today."""
        pipe = self.connect()
        (made,) = self.factory.protocols
        verifyObject(IPushProducer, made)
        made.stopProducing()
        self.assertTrue(pipe.disconnecting)

    def test_stopsReadingWhileClosing(self) -> None:
        """Twisted's channel may want to go on; the connection does not."""
        pipe = self.connect()
        pipe.receive(b"GET / HTTP/1.0\r\n\r\n" + GET)
        self.assertEqual(len(self.asked), 1)

    def test_displacedBeforeItIsAnswered(self) -> None:
        """A connection that has made room gets no seat again, while its end takes a turn."""
        answer = self.result = Deferred()
        pipes = [self.connect(UNIXAddress("x")) for _ in range(MOST_ADMIN_CONNECTIONS)]
        pipes[0].receive(GET)
        self.result = Deferred
        for pipe in pipes[1:]:
            pipe.receive(GET)
        self.patch(pipes[0], "abortConnection", lambda: None)
        self.connect(UNIXAddress("x"))
        answer.callback(text(200, "late"))
        self.assertEqual(len(self.factory.protocols), MOST_ADMIN_CONNECTIONS)
        self.assertNotIn(pipes[0].protocol, self.factory.protocols)

    def test_introduced(self) -> None:
        """What is for the TLS below it is not taken for its own."""
        secured = TlsFactory(ServerContexts(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), self.factory)
        pipe = Pipe(address())
        pipe.protocol = DirectTransport(IntroductionFactory(secured).buildProtocol(address()))
        pipe.protocol.makeConnection(pipe)
        pipe.receive(b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 443\r\n")
        (seat,) = self.factory.protocols
        self.assertEqual(seat.getPeer().host, "192.0.2.7")
        self.assertFalse(pipe.lost)
