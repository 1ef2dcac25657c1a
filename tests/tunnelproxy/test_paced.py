"""Owns the checks of a client that has a rate: what its server sends goes on no faster."""

from __future__ import annotations

from nymearemoteproxy.common.rates import portion
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import MIB, SwitchboardCase, disconnected

RATE = 1_000_000


class PacedClientTests(SwitchboardCase):
    """One client with a rate, beside another."""

    terms = Terms(clientBacklog=MIB, totalBacklog=64 * MIB, serverTimeout=0, clientRate=RATE)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.client, self.other = (self.world.client(self.server) for _ in range(2))
        self.server.heard()
        self.clock.advance(1)

    def test_pieces(self) -> None:
        """A large packet goes on in pieces; another client's comes at once."""
        data = bytes(range(256)) * 400
        self.server.say(1, data)
        self.server.say(2, b"hello")
        self.assertEqual(self.other.take(), b"hello")
        self.assertLessEqual(len(self.client.take()), 2 * portion(RATE))
        self.clock.pump([0.001] * 50)
        self.assertApproximates(len(self.client.take()), 0.05 * RATE, portion(RATE))
        self.clock.pump([0.001] * 100)
        self.server.say(1, data)
        self.clock.pump([0.001] * 200)
        self.client.take()
        self.assertEqual(self.world.backlog, 0)

    def test_order(self) -> None:
        """Nothing is lost or changes places."""
        data = [bytes([number]) * 10_000 for number in range(30)]
        received = b""
        for each in data:
            self.server.say(1, each)
            self.clock.advance(0.007)
            received += self.client.take()
        self.clock.pump([0.01] * 40)
        self.assertEqual(received + self.client.take(), b"".join(data))

    def test_both(self) -> None:
        """One that is slow besides: it gets more when it has taken all and may have more."""
        self.server.say(1, bytes(200_000))
        self.client.take()
        self.client.room = 0
        self.clock.advance(0.03)
        self.assertTrue(self.client.blocked)
        self.client.take()
        self.clock.advance(1)
        self.assertEqual(self.client.take(), b"")
        self.client.drain()
        self.assertGreater(len(self.client.take()), 0)
        self.client.drain()
        self.assertEqual(self.client.take(), b"")
        self.clock.pump([0.01] * 20)
        self.assertGreater(len(self.client.take()), 0)

    def test_serverLeaves(self) -> None:
        """What waits still comes, no faster, and then the end."""
        self.server.say(1, bytes(100_000))
        self.server.leave()
        self.assertIsNone(self.client.outcome)
        self.clock.pump([0.01] * 20)
        self.assertEqual(len(self.client.take()), 100_000)
        self.assertIs(self.client.outcome, Outcome.PARTNER_LEFT)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clientLeaves(self) -> None:
        """Nothing is left of it."""
        self.server.say(1, bytes(100_000))
        self.client.leave()
        self.assertEqual(self.server.heard(), [disconnected(1)])
        self.assertEqual(self.world.backlog, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_givenUp(self) -> None:
        """One that takes nothing is given up as without a rate."""
        self.client.room = 0
        self.server.say(1, bytes(2 * MIB))
        self.clock.advance(self.terms.clientPatience + 1)
        self.assertIs(self.client.outcome, Outcome.CLIENT_TOO_SLOW)
        self.client.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow(self) -> None:
        """One that only takes what it may is not given up, however long it takes."""
        self.server.say(1, bytes(3 * MIB // 2))
        received = 0
        for _ in range(200):
            self.clock.advance(0.01)
            received += len(self.client.take())
        self.assertIsNone(self.client.outcome)
        self.assertEqual(received, 3 * MIB // 2)
        self.assertTrue(self.server.reading)
