"""A listening port whose connections go through a proxy, in memory."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.local.farend import SILENCE, FarEnd
from nymearemoteproxy.client.local.forwarding import Forwarder
from nymearemoteproxy.client.rules.errors import TunnelError
from tests.support.nearby import Endpoint, Line

MOST_CONNECTIONS = 20


class ForwarderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tunnels = Endpoint()
        self.said: list[str] = []
        self.failures: list[Failure] = []
        self.forwarder = Forwarder(
            self.clock,
            self.tunnels,  # type: ignore[arg-type]
            Reports(self.said.append),
            self.failures.append,
            MOST_CONNECTIONS,
        )

    def accept(self) -> Line:
        """Somebody connects to the port."""
        protocol = self.forwarder.buildProtocol(None)
        assert protocol is not None
        line = Line(protocol)
        protocol.makeConnection(line)  # type: ignore[arg-type]
        return line

    def pair(self) -> tuple[Line, Line]:
        """Return both ends of a connection that is up."""
        near = self.accept()
        return near, self.tunnels.succeed()

    def settled(self) -> bool:
        """Whether nothing is left of all connections."""
        return self.forwarder._open == 0 and not self.clock.getDelayedCalls()

    def test_bothDirections(self) -> None:
        near, far = self.pair()
        near.protocol.dataReceived(b"question")
        far.protocol.dataReceived(b"answer")
        self.assertEqual((far.value(), near.value()), (b"question", b"answer"))

    def test_nothingIsReadBeforeTheTunnelIsUp(self) -> None:
        near = self.accept()
        self.assertTrue(near.isPaused)
        self.tunnels.succeed()
        self.assertFalse(near.isPaused)

    def test_backPressure(self) -> None:
        near, far = self.pair()
        near.full = True
        far.protocol.dataReceived(b"x")
        self.assertTrue(far.isPaused)
        near.drain()
        self.assertFalse(far.isPaused)
        far.full = True
        near.protocol.dataReceived(b"x")
        self.assertTrue(near.isPaused)
        far.drain()
        self.assertFalse(near.isPaused)

    def test_farSideCloses(self) -> None:
        near, far = self.pair()
        far.protocol.dataReceived(b"all")
        near.protocol.stopProducing()
        far.lose()
        self.assertEqual((near.value(), near.disconnecting, near.producer), (b"all", True, None))
        # What was read already has nowhere to go.
        near.protocol.dataReceived(b"late")
        near.protocol.readConnectionLost()
        near.lose()
        self.assertEqual((self.settled(), self.said), (True, []))

    def test_farSideIsLost(self) -> None:
        near, far = self.pair()
        far.lose(ConnectionLost("broken"))
        self.assertTrue(near.disconnecting)
        near.lose()
        self.assertEqual((self.settled(), self.said), (True, ["connection lost: broken"]))

    def test_nearSideCloses(self) -> None:
        near, far = self.pair()
        near.lose()
        self.assertEqual((far.disconnecting, far.producer), (True, None))
        far.protocol.dataReceived(b"late")
        self.assertFalse(self.settled())
        far.lose()
        self.assertTrue(self.settled())

    def test_halfClose(self) -> None:
        """The partner is heard out."""
        near, far = self.pair()
        self.assertTrue(IHalfCloseableProtocol.providedBy(near.protocol))
        near.protocol.dataReceived(b"question")
        near.protocol.readConnectionLost()
        near.protocol.writeConnectionLost()
        for _ in range(4):
            self.clock.advance(SILENCE * 0.9)
            far.protocol.dataReceived(b"a")
        self.assertFalse(far.disconnecting)
        self.clock.pump([SILENCE, SILENCE])
        self.assertTrue(far.disconnecting)
        far.lose()
        self.assertEqual((near.value(), near.disconnecting), (b"aaaa", True))
        near.lose()
        self.assertTrue(self.settled())

    def test_halfCloseOfASlowReader(self) -> None:
        """Nothing can come while nothing is read."""
        near, far = self.pair()
        near.full = True
        far.protocol.dataReceived(b"x")
        near.protocol.readConnectionLost()
        self.clock.pump([SILENCE] * 10)
        self.assertFalse(far.disconnecting)
        near.drain()
        self.clock.pump([SILENCE, SILENCE])
        self.assertTrue(far.disconnecting)

    def test_farSideClosesAfterHalfClose(self) -> None:
        near, far = self.pair()
        near.protocol.readConnectionLost()
        far.lose()
        near.lose()
        self.assertTrue(self.settled())

    def test_leavesBeforeTheTunnelIsUp(self) -> None:
        near = self.accept()
        near.lose()
        self.assertEqual((self.tunnels.cancelled, self.settled()), (1, True))
        self.assertEqual((self.said, self.failures), ([], []))

    def test_gaveUp(self) -> None:
        near = self.accept()
        self.tunnels.fail(TunnelError("the server is away", isTransient=True))
        self.assertTrue(near.disconnecting)
        near.lose()
        self.assertTrue(self.settled())
        self.assertEqual(self.said, ["a connection is given up: the server is away"])
        self.assertEqual(self.failures, [])

    def test_permanentMistake(self) -> None:
        near = self.accept()
        self.tunnels.fail(TunnelError("not switched on"))
        self.assertTrue(near.disconnecting)
        self.assertEqual(([str(failure.value) for failure in self.failures]), ["not switched on"])

    def test_permanentMistakeWhenItHasWorked(self) -> None:
        """Then it is somebody else's mistake, and the other connections may still be in use."""
        self.pair()
        self.accept()
        self.tunnels.fail(TunnelError("not switched on"))
        self.assertEqual(self.said, ["a connection is given up: not switched on"])
        self.assertEqual(self.failures, [])

    def test_fault(self) -> None:
        self.accept()
        self.tunnels.fail(ValueError("a fault"))
        self.assertEqual(len(self.failures), 1)

    def test_faultWhenItHasWorked(self) -> None:
        self.pair()
        self.accept()
        self.tunnels.fail(ValueError("a fault"))
        self.assertEqual(self.said, ["a connection is given up: a fault"])
        self.assertEqual(self.failures, [])

    def test_tooMany(self) -> None:
        pairs = [self.pair() for _ in range(MOST_CONNECTIONS)]
        self.assertIsNone(self.forwarder.buildProtocol(None))
        self.assertIn("20 connections are open, which is the most that the limit", self.said[0])
        near, far = pairs[0]
        near.lose()
        self.assertIsNone(self.forwarder.buildProtocol(None))
        far.lose()
        self.assertIsNotNone(self.forwarder.buildProtocol(None))

    def test_tooManyIsSaidOnce(self) -> None:
        """As long as they are about the most, whatever else is said; and when they are again."""
        pairs = [self.pair() for _ in range(MOST_CONNECTIONS)]
        for _ in range(3):
            self.assertIsNone(self.forwarder.buildProtocol(None))
            for line in pairs.pop():
                line.lose()
            pairs.append(self.pair())
            self.forwarder.reports.over()
        self.assertEqual(len(self.said), 1)
        for near, far in pairs[: MOST_CONNECTIONS // 2]:
            near.lose()
            far.lose()
        while self.forwarder.buildProtocol(None) is not None:
            pass
        self.assertEqual(len(self.said), 2)

    def test_abstract(self) -> None:
        end = FarEnd(self.clock)
        self.assertRaises(NotImplementedError, end.dataReceived, b"")
        self.assertRaises(NotImplementedError, end.leave)
