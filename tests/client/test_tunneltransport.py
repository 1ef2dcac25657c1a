"""What the tunnel's transport adds to the real one."""

from __future__ import annotations

from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.client.connecting.tunneltransport import TunnelTransport
from tests.support.proxies import PARTNER, Recorder


class TransportTests(SynchronousTestCase):
    """What the tunnel's transport adds to the real one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire = StringTransport()
        self.protocol = Recorder()
        self.tunnel = TunnelTransport(self.clock, self.wire, PARTNER, self.protocol)
        self.protocol.makeConnection(self.tunnel)  # type: ignore[arg-type]

    def test_nothingWhilePaused(self) -> None:
        self.tunnel.pauseProducing()
        self.assertEqual(self.wire.producerState, "paused")
        self.tunnel.deliver(b"a")
        self.tunnel.deliver(b"b")
        self.assertEqual(self.protocol.data, b"")
        self.tunnel.resumeProducing()
        self.tunnel.deliver(b"c")
        self.assertEqual((self.protocol.data, self.wire.producerState), (b"", "paused"))
        self.clock.advance(0)
        self.assertEqual((self.protocol.data, self.wire.producerState), (b"abc", "producing"))

    def test_pausedAgainBeforeDelivery(self) -> None:
        self.tunnel.pauseProducing()
        self.tunnel.deliver(b"a")
        self.tunnel.resumeProducing()
        self.tunnel.pauseProducing()
        self.clock.advance(0)
        self.assertEqual((self.protocol.data, self.wire.producerState), (b"", "paused"))

    def test_lostWhilePaused(self) -> None:
        self.tunnel.pauseProducing()
        self.tunnel.deliver(b"last")
        self.tunnel.resumeProducing()
        self.tunnel.lost(connectionDone)
        self.assertEqual((self.protocol.data, self.protocol.reason), (b"last", connectionDone))
        self.clock.advance(0)

    def test_delegation(self) -> None:
        self.tunnel.writeSequence([b"a", b"b"])
        self.assertEqual(self.wire.value(), b"ab")
        self.tunnel.registerProducer(self, True)
        self.assertIs(self.wire.producer, self)
        self.tunnel.unregisterProducer()
        self.assertEqual(self.tunnel.getPeer(), self.wire.getPeer())
        self.assertEqual(self.tunnel.getHost(), self.wire.getHost())
        self.tunnel.stopProducing()
        self.assertTrue(self.wire.disconnecting and self.tunnel.disconnecting)
