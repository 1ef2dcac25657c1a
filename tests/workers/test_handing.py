"""Descriptors through a socket, and connections that are adopted, on a real reactor."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as globalReactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nymearemoteproxy.workers.adopting import adopt
from nymearemoteproxy.workers.handing import RETRY, Handed, Handing, Taking, addressOf

reactor: Any = globalReactor

PORTS = st.integers(1, 65535)
ADDRESSES = st.one_of(
    st.builds(
        lambda host, port: (socket.AF_INET, IPv4Address("TCP", str(host), port)),
        st.ip_addresses(v=4),
        PORTS,
    ),
    st.builds(
        lambda host, port, scope: (socket.AF_INET6, IPv6Address("TCP", str(host), port, 0, scope)),
        st.ip_addresses(v=6),
        PORTS,
        st.integers(0, 9),
    ),
    st.just((socket.AF_UNIX, UNIXAddress(""))),
)
ONE = Handed(7, 0, socket.AF_INET, IPv4Address("TCP", "192.0.2.1", 1234), "192.0.2.1")


class MessageTests(SynchronousTestCase):
    """What is told with a connection."""

    @given(st.integers(1), st.integers(0, 100), ADDRESSES, st.none() | st.text(max_size=50))
    def test_roundTrip(
        self, number: int, listener: int, where: tuple[int, IAddress], source: str | None
    ) -> None:
        family, address = where
        handed = Handed(number, listener, family, address, source)
        self.assertEqual(Handed.decode(handed.encode()), handed)

    def test_scope(self) -> None:
        """An address that is good for one link says which, as Twisted has it."""
        index, name = socket.if_nameindex()[0]
        address = addressOf(socket.AF_INET6, ("fe80::1", 5, 0, index))
        self.assertEqual(address, IPv6Address("TCP", f"fe80::1%{name}", 5, 0, index))


class SocketCase(TestCase):
    """The two ends."""

    timeout = 300

    def setUp(self) -> None:
        self.taken: list[tuple[Handed, bool]] = []
        self.roomAgain: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        hand, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.plain = hand
        self.handing = Handing(reactor, hand, lambda: self.roomAgain.callback(None))
        self.taking = Taking(reactor, take, self.take, lambda: self.ended.callback(None))
        self.addCleanup(self.handing.close)
        self.addCleanup(self.taking.close)

    def take(self, handed: Handed, descriptor: int | None) -> None:
        """Take a connection over."""
        self.taken.append((handed, descriptor is not None))


class SocketTests(SocketCase):
    """What is handed over is taken."""

    @inlineCallbacks
    def test_full(self) -> Any:
        """What there is no room for is refused, until there is."""
        read, write = os.pipe()
        count = 0
        while self.handing.hand(ONE, read):
            count += 1
        self.assertTrue(self.handing.isFull)
        self.taking.start()
        yield self.roomAgain
        self.assertFalse(self.handing.isFull)
        self.handing.close()
        yield self.ended
        self.assertEqual(self.taken, [(ONE, True)] * count)
        os.close(read)
        self.assertRaises(BrokenPipeError, os.write, write, b"x")  # no copy is left
        os.close(write)

    @inlineCallbacks
    def test_strayMessages(self) -> Any:
        """One without a descriptor is told of, one that is nothing is logged; the rest is taken."""
        self.plain.send(ONE.encode())
        self.plain.send(b"nonsense")
        read, write = os.pipe()
        self.handing.hand(ONE, read)
        self.handing.close()
        self.taking.start()
        yield self.ended
        self.assertEqual(self.taken, [(ONE, False), (ONE, True)])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        os.close(read)
        os.close(write)

    @inlineCallbacks
    def test_nobodyThere(self) -> Any:
        """Of a worker that has died it is heard elsewhere; until then it is tried again."""
        self.taking.close()
        self.assertFalse(self.handing.hand(ONE, 0))
        self.assertTrue(self.handing.isFull)
        began = reactor.seconds()
        yield self.roomAgain
        self.assertGreater(reactor.seconds() - began, RETRY * 0.9)

    def test_closedMeanwhile(self) -> None:
        """Then nothing is tried again."""
        self.taking.close()
        self.assertFalse(self.handing.hand(ONE, 0))
        self.handing.close()
        self.assertEqual(reactor.getDelayedCalls(), [])

    @inlineCallbacks
    def test_reset(self) -> Any:
        """A parent that closes with something unread has handed over all that it will."""
        self.taking._socket.send(b"nobody reads this")
        self.handing.close()
        self.taking.start()
        yield self.ended
        self.assertEqual(self.taken, [])

    def test_reactorStops(self) -> None:
        """Both ends are closed."""
        for end in (self.handing, self.taking):
            end.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(end.fileno(), -1)
        self.assertTrue(self.handing.isFull)
        self.assertEqual(
            (self.handing.logPrefix(), self.taking.logPrefix()), ("handing over", "taking over")
        )


class Remembering(Protocol):
    """A connection that was accepted, here or elsewhere."""

    def __init__(self, made: Callable[[Any], object]) -> None:
        self._made = made

    def connectionMade(self) -> None:
        self._made(self)


class AddressFactory(Factory):
    """Notes which address it was asked for.

    :ivar seen: that one, and what the connection says of itself.
    """

    noisy = False

    def __init__(self) -> None:
        self.seen: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        def made(protocol: Any) -> None:
            transport = protocol.transport
            peer, host = transport.getPeer(), transport.getHost()
            transport.abortConnection()
            self.seen.callback((addr, peer, host, type(transport)))

        return Remembering(made)


class AdoptionTests(TestCase):
    """A connection that another process has accepted is like one that Twisted has accepted."""

    timeout = 300

    @inlineCallbacks
    def compare(self, port: Any, family: int, name: Any) -> Any:
        """Connect twice: Twisted accepts the one, and the other is accepted for it."""
        factory = port.factory
        seen = []
        for isAdopted in (False, True):
            factory.seen = Deferred()
            if isAdopted:
                port.stopReading()
            with socket.socket(socket.AddressFamily(family)) as client:
                client.connect(name)
                own = client.getsockname()
                if isAdopted:
                    self.adopt(port)
                addr, peer, host, kind = yield factory.seen
            if family != socket.AF_UNIX:
                self.assertEqual(peer.port, own[1])
                self.assertEqual(addr, peer)
                addr = peer = (type(peer), peer.host)
            seen.append((addr, peer, host, kind))
        yield port.stopListening()
        self.assertEqual(*seen)

    def adopt(self, port: Any) -> None:
        """Accept a connection that waits, and hand it over."""
        with socket.socket(fileno=os.dup(port.fileno())) as listening:
            accepted, peer = listening.accept()
        with accepted:
            address = addressOf(accepted.family, peer)
            handed = Handed(1, 0, accepted.family, address, None)
            adopt(reactor, Handed.decode(handed.encode()), accepted.fileno(), port.factory)

    def test_ipv4(self) -> Any:
        port = reactor.listenTCP(0, AddressFactory(), interface="127.0.0.1")
        return self.compare(port, socket.AF_INET, ("127.0.0.1", port.getHost().port))

    def test_ipv6(self) -> Any:
        port = reactor.listenTCP(0, AddressFactory(), interface="::1")
        return self.compare(port, socket.AF_INET6, ("::1", port.getHost().port))

    def test_ipv4OnIpv6(self) -> Any:
        port = reactor.listenTCP(0, AddressFactory(), interface="::")
        return self.compare(port, socket.AF_INET, ("127.0.0.1", port.getHost().port))

    def test_unix(self) -> Any:
        path = os.path.relpath(self.mktemp())
        port = reactor.listenUNIX(path, AddressFactory())
        return self.compare(port, socket.AF_UNIX, path)
