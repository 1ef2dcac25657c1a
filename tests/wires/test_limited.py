"""The limits of a tunnel on the wires: how fast it is, how long silent, how old."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost

from nymearemoteproxy.common.rates import BURST, portion
from nymearemoteproxy.connections.tunnellimits import TunnelLimits
from nymearemoteproxy.protocol.frames import PARTS_AT_ONCE
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from nymearemoteproxy.wires.direct import READ_SIZE
from nymearemoteproxy.wires.stream import LimitedStreamLeg, StreamLeg
from nymearemoteproxy.wires.websocket import LimitedWebSocketLeg, WebSocketLeg
from tests.support.inmemory import TIMING, InMemory, isWebSocket
from tests.support.memory import Pipe
from tests.support.wires import maskedFrame

KINDS = "WebSocket", "TCP"
PAIRS = [(first, second) for first in KINDS for second in KINDS]


class Limited(InMemory):
    """A proxy whose tunnels have limits."""

    limits = TunnelLimits()

    def setUp(self) -> None:
        super().setUp()
        self.limit(self.limits)

    def limit(self, limits: TunnelLimits) -> None:
        """Have tunnels that begin from now on keep these limits."""
        self.proxy.setPolicy(replace(self.proxy.policy, tunnels=limits))

    def tunnel(self, first: str, second: str) -> tuple[Pipe, Pipe]:
        """Open another tunnel."""
        one, two = self.open(first), self.open(second)
        for pipe in one, two:
            self.authenticate(pipe, nonce="another")
            pipe.clear()
        return one, two

    def send(self, pipe: Pipe, size: int) -> None:
        """Let a client send so many bytes of payload."""
        data = bytes(size)
        pipe.receive(maskedFrame(2, data) if isWebSocket(pipe) else data)

    def isRead(self, pipe: Pipe) -> bool:
        """Tell whether more is read from a client."""
        return bool(pipe.producerState == "producing")

    def part(self, *pipes: Pipe) -> None:
        """Let clients leave."""
        for pipe in pipes:
            pipe.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WithoutTests(Limited):
    """What is not limited pays nothing."""

    def test_classes(self) -> None:
        """Legs are ordinary ones, and hand what they read straight to each other."""
        one, two = self.join("WebSocket", "TCP")
        self.assertIs(type(one.protocol), WebSocketLeg)
        self.assertIs(type(two.protocol), StreamLeg)
        self.assertIs(one.protocol.partner, two.protocol)
        self.assertIs(two.protocol.partner, one.protocol)

    def test_reload(self) -> None:
        """Limits are those of tunnels that begin later."""
        one, _two = self.join("TCP", "TCP")
        self.limit(TunnelLimits(rate=1000))
        self.send(one, 100_000)
        self.assertTrue(self.isRead(one))
        one, two = self.tunnel("WebSocket", "TCP")
        self.assertIs(type(one.protocol), LimitedWebSocketLeg)
        self.assertIs(type(two.protocol), LimitedStreamLeg)


class RateTests(Limited):
    """How fast a tunnel is."""

    limits = TunnelLimits(rate=100_000)

    def test_everyPair(self) -> None:
        """Who is too fast is not read from for a moment; the other direction goes on."""
        for first, second in PAIRS:
            one, two = self.join(first, second)
            self.send(one, 3000)
            self.assertFalse(self.isRead(one))
            self.assertTrue(self.isRead(two))
            self.assertGreaterEqual(len(two.take()), 3000)
            self.clock.advance(0.005)
            self.assertFalse(self.isRead(one))
            self.clock.advance(0.01)
            self.assertTrue(self.isRead(one))
            self.part(one, two)

    def test_smooth(self) -> None:
        """Over a second it is the rate, with pauses that nobody notices."""
        for first, second in PAIRS:
            one, two = self.join(first, second)
            self.assertEqual(one.bufferSize, portion(100_000))
            passed, longest, pause = 0, 0, 0
            for _ in range(1000):
                while self.isRead(one) and passed < 1_000_000:
                    self.send(one, one.bufferSize)
                    passed += one.bufferSize
                    pause = 0
                self.clock.advance(0.001)
                two.clear()
                pause += 1
                longest = max(longest, pause)
            self.assertApproximates(passed, 100_000, 5000)
            self.assertLessEqual(longest, BURST * 1000 + 2)
            self.part(one, two)

    def test_pings(self) -> None:
        """What is not relayed takes its part, too; TLS may have more of it in its hands."""
        one, two = self.join("WebSocket", "TCP")
        ping = maskedFrame(9, bytes(100))
        one.receive(ping * 30)
        self.assertFalse(self.isRead(one))
        one.receive(ping * 30)
        pause = (60 * len(ping) - 100_000 * BURST) / 100_000
        self.clock.advance(pause - 0.001)
        self.assertFalse(self.isRead(one))
        self.clock.advance(0.002)
        self.assertTrue(self.isRead(one))
        self.part(one, two)

    def test_readSize(self) -> None:
        """A high rate does not make reads larger."""
        self.limit(TunnelLimits(rate=1_000_000_000))
        one, two = self.join("TCP", "WebSocket")
        self.assertEqual((one.bufferSize, two.bufferSize), (READ_SIZE, READ_SIZE))

    def test_pauseAndBackPressure(self) -> None:
        """A client is read from again when both reasons are gone, in either order."""
        for first, second in PAIRS:
            one, two = self.join(first, second)
            self.send(one, 3000)
            two.stall()
            self.clock.advance(1)
            self.assertHeldUp(one)
            two.drain()
            self.clock.advance(2)  # for what it took to find that out
            self.assertTrue(self.isRead(one))
            self.send(one, 3000)
            two.stall()
            two.drain()
            self.assertFalse(self.isRead(one))
            self.clock.advance(1)
            self.assertTrue(self.isRead(one))
            self.part(one, two)

    def test_pauseAndTurns(self) -> None:
        """So it is when what was read has to wait for its turn."""
        self.limit(TunnelLimits(rate=1000))
        one, two = self.join("WebSocket", "TCP")
        count = 3 * PARTS_AT_ONCE  # more than the burst with the first part already
        one.receive(maskedFrame(2, b"x") * count)
        self.assertFalse(self.isRead(one))
        for _ in range(10):
            self.clock.advance(0)
        self.assertEqual(two.take(), b"x" * count)
        pause = (7 * count - 1000 * BURST) / 1000  # a masked frame is 7 bytes
        self.clock.advance(pause - 0.001)
        self.assertFalse(self.isRead(one))
        self.clock.advance(0.002)
        self.assertTrue(self.isRead(one))
        self.part(one, two)

    def test_lost(self) -> None:
        """Whose partner is gone is read without a pause."""
        for first, second in PAIRS:
            one, two = self.join(first, second)
            self.send(one, 50_000)
            two.lose(ConnectionLost())
            self.assertTrue(self.isRead(one))
            self.send(one, 50_000)
            self.assertTrue(self.isRead(one))
            one.lose(ConnectionDone())
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lostWhilePaused(self) -> None:
        """Nothing is left of a client that leaves in a pause."""
        for first, second in PAIRS:
            one, two = self.join(first, second)
            self.send(one, 50_000)
            one.lose(ConnectionLost())
            two.lose(ConnectionDone())
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_farewell(self) -> None:
        """A close frame in the same read: what comes behind it is read, until the end."""
        one, two = self.join("WebSocket", "TCP")
        one.receive(maskedFrame(2, bytes(50_000)) + maskedFrame(8, b"\x03\xe8"))
        self.assertTrue(self.isRead(one))
        self.part(one, two)

    def test_halfClosed(self) -> None:
        """One that is sent nothing more is still no faster than its rate."""
        one, two = self.join("TCP", "TCP")
        two.protocol.readConnectionLost()
        self.send(one, 3000)
        self.assertFalse(self.isRead(one))
        self.clock.advance(1)
        self.assertTrue(self.isRead(one))
        self.part(one, two)


class TotalTests(Limited):
    """How fast all tunnels are together."""

    limits = TunnelLimits(totalRate=1_000_000)

    def test_turns(self) -> None:
        """They wait for each other, one after the other."""
        pairs = [self.join("TCP", "TCP"), self.tunnel("TCP", "WebSocket")]
        (one, _), (two, _) = pairs
        self.send(one, 30_000)
        self.send(two, 10_000)
        self.assertEqual((self.isRead(one), self.isRead(two)), (False, False))
        self.clock.advance(0.011)
        self.assertEqual((self.isRead(one), self.isRead(two)), (True, False))
        self.clock.advance(0.01)
        self.assertEqual((self.isRead(one), self.isRead(two)), (True, True))

    def test_together(self) -> None:
        """Both rates are kept."""
        self.limit(TunnelLimits(rate=100_000, totalRate=1_000_000))
        one, _two = self.join("TCP", "TCP")
        self.assertEqual(one.bufferSize, 2000)
        self.send(one, 12_000)
        self.clock.advance(0.09)
        self.assertFalse(self.isRead(one))
        self.clock.advance(0.011)
        self.assertTrue(self.isRead(one))

    def test_reload(self) -> None:
        """The same rate is the same bucket."""
        before = self.proxy.totalRate
        self.limit(TunnelLimits(rate=1, totalRate=1_000_000))
        self.assertIs(self.proxy.totalRate, before)
        self.limit(TunnelLimits(totalRate=2_000_000))
        self.assertIsNot(self.proxy.totalRate, before)
        self.limit(TunnelLimits())
        self.assertIsNone(self.proxy.totalRate)


class TimeTests(Limited):
    """How long a tunnel is up."""

    limits = TunnelLimits(idleTimeout=20)  # sooner than an answer to a ping has to come

    def test_idle(self) -> None:
        """Nothing in either direction; both are told."""
        for first, second in PAIRS:
            one, two = self.join(first, second)
            for sender in one, two, one:
                self.clock.advance(19)
                self.send(sender, 1)
                for each in one, two:
                    if isWebSocket(each):
                        each.receive(maskedFrame(10, b""))
            self.clock.advance(19)
            self.assertFalse(one.halfClosed or one.disconnecting or one.phase.finished)
            self.clock.advance(1)
            self.assertTrue(one.phase.finished and two.phase.finished)
            one.lose(ConnectionDone())
            two.lose(ConnectionDone())
            outcomes = self.proxy.registry.counters.outcomes
            self.assertEqual(outcomes.pop(Outcome.TUNNEL_IDLE), 2)

    def test_closeFrame(self) -> None:
        """WebSocket clients are told why."""
        one, _two = self.join("WebSocket", "TCP")
        self.clock.advance(20)
        self.assertEqual(one.take(), b"\x88\x1e\x03\xf0nothing relayed for too long")

    def test_pings(self) -> None:
        """Those of WebSocket are none of the tunnel's."""
        one, two = self.join("WebSocket", "WebSocket")
        for _ in range(10):
            self.assertFalse(one.phase.finished)
            self.clock.advance(2)
            one.receive(maskedFrame(10, b""))
            two.receive(maskedFrame(9, b"x"))
        self.assertTrue(one.phase.finished)

    def test_emptyMessages(self) -> None:
        """They are nothing that is relayed."""
        one, _two = self.join("WebSocket", "TCP")
        for _ in range(10):
            self.assertFalse(one.phase.finished)
            self.clock.advance(2)
            one.receive(maskedFrame(2, b""))
        self.assertTrue(one.phase.finished)

    def test_age(self) -> None:
        """However much is relayed."""
        self.limit(TunnelLimits(idleTimeout=100, maxAge=250))
        one, two = self.join("TCP", "TCP")
        for _ in range(5):
            self.clock.advance(49)
            self.send(one, 1)
        self.assertFalse(one.phase.finished)
        self.clock.advance(5)
        one.lose(ConnectionDone())
        two.lose(ConnectionDone())
        self.assertOutcomes(Outcome.TUNNEL_TOO_OLD, Outcome.TUNNEL_TOO_OLD)

    def test_endedBefore(self) -> None:
        """Nobody looks at a tunnel that has ended."""
        one, two = self.join("WebSocket", "TCP")
        one.lose(ConnectionLost())
        two.lose(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stubborn(self) -> None:
        """Who does not leave when told is closed."""
        one, two = self.join("WebSocket", "TCP")
        self.clock.advance(20)
        self.clock.advance(TIMING.close)
        self.clock.advance(TIMING.close)
        self.assertTrue(one.lost and two.lost)


SERVER = "00000000-0000-4000-8000-000000000001"


class TunnelProxyTests(Limited):
    """A registered server, and its clients."""

    terms = Terms(serverTimeout=0, clientRate=100_000)
    limits = TunnelLimits(rate=100_000, idleTimeout=100)

    def register(self, kind: str, role: str, **params: Any) -> Pipe:
        """Let a server or a client register."""
        pipe = self.open(kind)
        self.call(pipe, f"TunnelProxy.Register{role}", serverUuid=SERVER, **params)
        pipe.clear()
        return pipe

    def both(self) -> tuple[Pipe, Pipe]:
        """Return a server and its client."""
        server = self.register("TCP", "Server", serverName="server")
        uuid = SERVER.replace("4000", "4001")
        client = self.register("WebSocket", "Client", clientName="client", clientUuid=uuid)
        self.clock.advance(1)
        server.clear()
        return server, client

    def test_server(self) -> None:
        """Its own connection has no limit, its clients have."""
        server, client = self.both()
        self.assertIs(type(server.protocol), StreamLeg)
        self.assertIs(type(client.protocol), LimitedWebSocketLeg)
        self.clock.advance(100)
        self.assertTrue(client.phase.finished)
        self.assertFalse(server.phase.finished)

    def test_fromClient(self) -> None:
        """It is not read from for a moment."""
        _server, client = self.both()
        self.send(client, 3000)
        self.assertFalse(self.isRead(client))
        self.clock.advance(0.02)
        self.assertTrue(self.isRead(client))

    def test_toClient(self) -> None:
        """What the server sends waits, and goes on piece by piece; the server is read from."""
        server, client = self.both()
        server.receive(b"\0\1" + bytes(20_000) + b"\xc0")
        self.assertLess(len(client.take()), 5000)
        self.assertTrue(self.isRead(server))
        received = 0
        for _ in range(50):
            self.clock.advance(0.002)
            received += len(client.take())
        self.assertApproximates(received, 10_000, 2500)
        self.clock.advance(0.05)
        self.clock.pump([0.01] * 10)
        self.part(client, server)

    def test_total(self) -> None:
        """What all tunnels share, the server takes from for its clients."""
        self.limit(TunnelLimits(totalRate=1_000_000))
        server, _client = self.both()
        self.assertIs(type(server.protocol), LimitedStreamLeg)
        server.receive(b"\0\1" + bytes(50_000) + b"\xc0")
        self.assertFalse(self.isRead(server))
        self.clock.advance(0.05)
        self.assertTrue(self.isRead(server))
