"""Connections that begin with a PROXY header, in memory and by a fake clock."""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.common.openssl import ServerContexts
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.proxyheader import ProxyHeaderError
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.direct import DirectFactory
from nymearemoteproxy.wires.introduction import IntroductionFactory
from nymearemoteproxy.wires.tlsserver import TlsFactory
from tests.support.inmemory import TIMING, UPGRADE, InMemory
from tests.support.memory import Pipe

PROXY = IPv4Address("TCP", "127.0.0.1", 1)


class Client(Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class IntroductionTests(SynchronousTestCase):
    """Before any protocol, such as the one of the admin endpoint."""

    def setUp(self) -> None:
        factory = Factory.forProtocol(Client)
        direct = DirectFactory(IntroductionFactory(factory)).buildProtocol(PROXY)
        self.pipe = Pipe(PROXY)
        direct.makeConnection(self.pipe)
        self.client = self.pipe.protocol._protocol

    def test_connected(self) -> None:
        """It can limit the time from the beginning."""
        self.assertEqual(self.client.transport.getPeer(), PROXY)

    def test_source(self) -> None:
        for header, expected in (
            (b"PROXY TCP4 192.0.2.7 ::1 1 2".replace(b"::1", b"1.1.1.1"), "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 ::1 1 2", "2001:db8::7"),
        ):
            self.setUp()
            self.pipe.receive(header + b"\r\nfirst")
            self.assertEqual(self.client.transport.getPeer().host, expected)
            self.assertEqual(self.client.received, b"first")
            self.assertIs(self.pipe.protocol, self.client)
        self.assertIsInstance(self.client.transport.getPeer(), IPv6Address)

    def test_nothingBehind(self) -> None:
        self.pipe.receive(b"PROXY UNKNOWN\r")
        self.pipe.receive(b"\n")
        self.assertEqual(self.client.received, b"")
        self.pipe.receive(b"first")
        self.assertEqual(self.client.received, b"first")
        self.assertEqual(self.client.transport.getPeer(), PROXY)

    def test_none(self) -> None:
        self.pipe.receive(b"GET / HTTP/1.1")
        self.assertTrue(self.pipe.lost)
        self.client.lost.trap(ProxyHeaderError)

    def test_withinTls(self) -> None:
        """A protocol that need not know at once is not told; its transport knows."""
        factory = TlsFactory(
            ServerContexts(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), Factory.forProtocol(Client)
        )
        pipe = Pipe(PROXY)
        DirectFactory(IntroductionFactory(factory)).buildProtocol(PROXY).makeConnection(pipe)
        tls = pipe.protocol._protocol
        pipe.receive(b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n")
        self.assertIs(pipe.protocol, tls)
        self.assertEqual(tls.getPeer().host, "192.0.2.7")

    def test_lost(self) -> None:
        self.pipe.lose(ConnectionDone())
        self.client.lost.trap(ConnectionDone)

    def test_logPrefix(self) -> None:
        self.assertEqual(IntroductionFactory(Factory()).logPrefix(), "Factory (PROXY)")


class ReverseProxyTests(InMemory):
    """Behind a PROXY header the client's real address counts."""

    bounds = Bounds(connectionsPerAddress=1)
    local: IAddress = PROXY

    def arrive(self, kind: str = "TCP", secure: bool = False) -> Pipe:
        """Let a reverse proxy on loopback connect."""
        factory: Any = ProxyFactory(self.nextProxy(), kind, secure, True, self.builders[kind])
        if secure:
            factory = TlsFactory(ServerContexts(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), factory)
        direct = DirectFactory(IntroductionFactory(factory)).buildProtocol(self.local)
        pipe = Pipe(self.local)
        direct.makeConnection(pipe)
        return pipe

    def introduce(self, host: str, **kinds: Any) -> Pipe:
        """Let a client connect through the reverse proxy."""
        pipe = self.arrive(**kinds)
        pipe.receive(b"PROXY TCP4 %s 192.0.2.99 4000 1\r\n" % host.encode())
        return pipe

    def assertLogged(self, peer: str, outcome: Outcome) -> None:
        """The last connection is said to have been this peer's, and to have ended like this."""
        self.assertEqual(self.events[-1]["peer"], peer)
        self.assertEqual(self.events[-1]["outcome"], outcome.label)

    def test_address(self) -> None:
        pipe = self.introduce("192.0.2.1")
        pipe.receive(b'{"id":1,"method":"RemoteProxy.Hello"}')
        self.assertIn(b'"success"', pipe.take())
        pipe.lose(ConnectionDone())
        self.assertLogged("192.0.2.1:4000", Outcome.LEFT_EARLY)

    def test_inPieces(self) -> None:
        pipe = self.arrive()
        header = b"PROXY TCP4 192.0.2.1 192.0.2.99 4000 1\r\n"
        for byte in header + b'{"id":1,"method":"RemoteProxy.Hello"}':
            pipe.receive(bytes([byte]))
        self.assertIn(b'"success"', pipe.take())

    def test_inOneRead(self) -> None:
        """What is behind the header is the client's."""
        pipe = self.arrive()
        pipe.receive(b'PROXY UNKNOWN\r\n{"id":1,"method":"RemoteProxy.Hello"}')
        self.assertIn(b'"success"', pipe.take())
        pipe = self.arrive("WebSocket")
        pipe.receive(b"PROXY UNKNOWN\r\n" + UPGRADE)
        self.assertTrue(pipe.take().startswith(b"HTTP/1.1 101 "))

    def test_unknown(self) -> None:
        """It counts as the reverse proxy's own."""
        for header in (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"):
            pipe = self.arrive()
            pipe.receive(header)
            pipe.lose(ConnectionDone())
            self.assertLogged("127.0.0.1:1", Outcome.LEFT_EARLY)

    def test_onUnixSocket(self) -> None:
        """Told or not."""
        self.local = UNIXAddress(None)
        pipe = self.introduce("192.0.2.1")
        pipe.lose(ConnectionDone())
        self.assertLogged("192.0.2.1:4000", Outcome.LEFT_EARLY)
        pipe = self.arrive()
        pipe.receive(b"PROXY UNKNOWN\r\n")
        pipe.lose(ConnectionDone())
        self.assertLogged("unix", Outcome.LEFT_EARLY)

    def test_limit(self) -> None:
        """Known with the header; what the client sends is not looked at, nor its TLS."""
        for secure in (False, True):
            first = self.introduce("192.0.2.1", secure=secure)
            second = self.arrive(secure=secure)
            second.receive(b"PROXY TCP4 192.0.2.1 192.0.2.99 4000 1\r\n\x16\x03\x01")
            self.assertTrue(second.lost)
            self.assertEqual(second.take(), b"")
            self.assertLogged("192.0.2.1:4000", Outcome.TOO_MANY_FROM_ADDRESS)
            self.assertFalse(first.lost)
            first.lose(ConnectionDone())

    def test_noHeader(self) -> None:
        """Nobody is told, and nothing of it is in the log."""
        for secure in (False, True):
            for data in (b"GET /\x1b[2J", b"\x16\x03\x01", b"PROXY TCP4 \x1b[2J 192.0.2.1 1 1\r\n"):
                pipe = self.arrive(secure=secure)
                pipe.receive(data)
                self.assertTrue(pipe.lost)
                self.assertEqual(pipe.take(), b"")
                self.assertLogged("127.0.0.1:1", Outcome.PROXY_HEADER_INVALID)
        self.assertNotIn("2J", str(self.events))

    def test_silent(self) -> None:
        """The time for the header is limited, whatever follows."""
        for secure in (False, True):
            pipe = self.arrive(secure=secure)
            pipe.receive(b"PROXY ")
            self.clock.advance(TIMING.inactive - 1)
            pipe.receive(b"TCP4 ")
            self.assertFalse(pipe.lost)
            self.clock.advance(1)
            self.assertTrue(pipe.lost)
            self.assertLogged("127.0.0.1:1", Outcome.INACTIVE_TIMEOUT)

    def test_silentClient(self) -> None:
        """Its own time begins with the header."""
        for secure, seconds, outcome in (
            (False, TIMING.inactive, Outcome.INACTIVE_TIMEOUT),
            (True, TIMING.tlsHandshake, Outcome.TLS_HANDSHAKE_TIMEOUT),
        ):
            pipe = self.arrive(secure=secure)
            self.clock.advance(1)
            pipe.receive(b"PROXY UNKNOWN\r\n")
            self.clock.advance(seconds - 0.5)
            self.assertFalse(pipe.lost or pipe.halfClosed)
            self.clock.advance(0.5)
            self.assertTrue(pipe.lost or pipe.halfClosed)
            pipe.lose(ConnectionDone())
            self.assertEqual(self.proxy.registry.counters.outcomes[outcome], 1)

    def test_leaves(self) -> None:
        """As a health check does."""
        for secure in (False, True):
            self.arrive(secure=secure).lose(ConnectionDone())
            self.assertLogged("127.0.0.1:1", Outcome.LEFT_EARLY)

    def test_leavesWithinTls(self) -> None:
        self.introduce("192.0.2.1", secure=True).lose(ConnectionDone())
        self.assertLogged("192.0.2.1:4000", Outcome.TLS_HANDSHAKE_FAILED)

    def test_halfClose(self) -> None:
        """Behind the header the end of the stream is told as without it."""
        pipe = self.introduce("192.0.2.1")
        self.assertTrue(IHalfCloseableProtocol.providedBy(pipe.protocol))

    def test_shutDown(self) -> None:
        pipe = self.arrive(secure=True)
        self.proxy.registry.dismissal.dismissAll()
        self.assertTrue(pipe.lost)
        self.assertLogged("127.0.0.1:1", Outcome.SHUTDOWN_WAITING)

    def test_refusedAtOnce(self) -> None:
        self.proxy.registry.gate = Gate(self.clock, Bounds(connections=1))
        self.accept("TCP")
        factory = ProxyFactory(self.nextProxy(), "TCP", False, True, self.builders["TCP"])
        self.assertIsNone(IntroductionFactory(factory).buildProtocol(self.local))
