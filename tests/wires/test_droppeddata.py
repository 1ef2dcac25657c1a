"""What a client still sends when nobody is there to take it: read and dropped, up to a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone

from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.direct import READ_SIZE
from nymearemoteproxy.wires.tlsserver import TlsFactory
from nymearemoteproxy.wires.transports import MOST_DROPPED
from tests.support.inmemory import InMemory, isWebSocket
from tests.support.memory import Pipe
from tests.support.tlssessions import PEER, serverContext
from tests.support.visitors import TlsVisitor
from tests.support.wires import maskedFrame

KINDS = "WebSocket", "TCP", "unix"

PIECE = bytes(READ_SIZE - 14)
"""What one read brings, at most: the largest header of a masked frame is of 14 bytes."""


class MemoryTests(InMemory):
    """In memory, each kind of client, and each way in which there comes to be nobody."""

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def flood(self, pipe: Pipe, encode: Callable[[bytes], bytes], size: int) -> None:
        """Let a client send so many bytes, as fast as it is read."""
        sent = 0
        while sent < size and not pipe.lost:
            if pipe.producerState == "paused":
                self.clock.advance(0)  # until what was read has had its turn
                continue
            data = encode(PIECE)[: size - sent]
            sent += len(data)
            pipe.receive(data)

    def assertBounded(
        self, pipe: Pipe, outcome: Outcome, encode: Callable[[bytes], bytes] | None = None
    ) -> None:
        """It has all that can be on its way, and no more; what it ended with stays as it was."""
        if encode is None:
            encode = (lambda data: maskedFrame(2, data)) if isWebSocket(pipe) else bytes
        counted = self.proxy.registry.counters.outcomes
        before = counted[outcome]
        self.flood(pipe, encode, MOST_DROPPED)
        self.assertFalse(pipe.lost, "a reset may destroy the last words")
        self.flood(pipe, encode, 1)
        self.assertTrue(pipe.lost)
        self.assertEqual(counted[outcome], before + 1)
        self.assertEqual(self.events[-2]["size"], MOST_DROPPED)

    def test_partnerLeft(self) -> None:
        for kind in KINDS:
            one, two = self.join(kind, "TCP")
            two.receive(b"last words")
            two.lose(ConnectionDone())
            self.assertIn(b"last words", one.take())
            self.assertBounded(one, Outcome.PARTNER_LEFT)

    def test_partnerLeftWithoutLimits(self) -> None:
        """Whose tunnel has a rate is read from without one, and so needs the bound even more."""
        limits = TunnelLimits(rate=20_000)
        self.proxy.setPolicy(replace(self.proxy.policy, tunnels=limits))
        for kind in KINDS:
            one, two = self.join(kind, "TCP")
            two.lose(ConnectionDone())
            self.assertBounded(one, Outcome.PARTNER_LEFT)

    def test_dismissed(self) -> None:
        """By an operator, or since a quota is used up: both ends."""
        for kind in KINDS:
            one, two = self.join(kind, "WebSocket")
            one.protocol.dismiss(Outcome.QUOTA_USED_UP)
            for pipe in one, two:
                self.assertFalse(pipe.lost)
            self.flood(one, bytes, MOST_DROPPED)
            self.flood(one, bytes, 1)
            self.assertTrue(one.lost)
            self.assertFalse(two.lost)
            two.lose(ConnectionDone())

    def test_refused(self) -> None:
        """Before a tunnel."""
        for kind in KINDS:
            pipe = self.open(kind)
            self.call(pipe, "RemoteProxy.Nothing")
            self.assertBounded(pipe, Outcome.INVALID_REQUEST)

    def test_noUpgrade(self) -> None:
        pipe = self.accept("WebSocket")
        pipe.receive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"HTTP/1.1 4", pipe.take())
        self.assertBounded(pipe, Outcome.WEBSOCKET_HANDSHAKE_FAILED, bytes)

    def test_brokenFrames(self) -> None:
        one, two = self.join("WebSocket", "TCP")
        one.receive(b"\x83\x80\x00\x00\x00\x00")
        self.assertBounded(one, Outcome.WEBSOCKET_PROTOCOL_ERROR)
        self.assertTrue(two.halfClosed)
        two.lose(ConnectionDone())

    def test_pings(self) -> None:
        """What is not relayed counts as well."""
        one, two = self.join("WebSocket", "TCP")
        two.lose(ConnectionDone())
        self.assertBounded(one, Outcome.PARTNER_LEFT, lambda _data: maskedFrame(9, bytes(90)) * 900)

    def test_tls(self) -> None:
        """Counted as it comes, encrypted."""
        factory = ProxyFactory(self.proxy, "TCP", True, False, self.builders["TCP"])
        pipe = self.attach(TlsFactory(serverContext(), factory), PEER)
        visitor = TlsVisitor(pipe, SSL.TLS1_3_VERSION)
        visitor.send(b"no JSON")
        self.assertBounded(pipe, Outcome.INVALID_JSON, visitor.encrypt)

    def test_stillRelayed(self) -> None:
        """A partner that only sends nothing more takes all that comes."""
        for kind in KINDS:
            one, two = self.join(kind, "TCP")
            two.protocol.readConnectionLost()
            received = 0
            encode = (lambda data: maskedFrame(2, data)) if isWebSocket(one) else bytes
            while received < 2 * MOST_DROPPED:
                one.receive(encode(PIECE))
                received += len(two.take())
            self.assertFalse(one.lost)
            two.lose(ConnectionDone())
            one.lose(ConnectionDone())

    def test_stillEnds(self) -> None:
        """Whoever sends less is waited for, as ever; and may end its sending before."""
        for kind in KINDS:
            one, two = self.join(kind, "TCP")
            two.lose(ConnectionDone())
            self.flood(one, bytes, 1000)
            self.goneAfterAborting(one)
        one, two = self.join("TCP", "TCP")
        two.lose(ConnectionDone())
        self.flood(one, bytes, 1000)
        one.protocol.readConnectionLost()
        self.assertTrue(one.disconnecting)
        one.lose(ConnectionDone())
