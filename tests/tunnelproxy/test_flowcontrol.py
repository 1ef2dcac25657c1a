"""Owns the checks of flow control: a server that is told which of its clients are slow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.backlog import PAUSED_SHARE
from nymearemoteproxy.tunnelproxy.clientend import STALLED
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import (
    MIB,
    PROPERTY,
    ClientLeg,
    ServerLeg,
    SwitchboardCase,
    World,
    disconnected,
    paused,
    resumed,
)


class FlowControlTests(SwitchboardCase):
    """One server, a client that does not read, and one that does."""

    terms = Terms(clientBacklog=8 * MIB, totalBacklog=64 * MIB, clientPatience=5.0, serverTimeout=0)
    most = 8 * MIB // PAUSED_SHARE

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server(flowControl=True)
        self.slow, self.fast = (self.world.client(self.server) for _ in range(2))
        self.server.heard()
        self.clock.advance(1000)
        self.slow.room = 0
        self.server.say(1, b".")
        self.assertTrue(self.slow.blocked)
        self.slow.take()

    def test_paused(self) -> None:
        """It is told once, at a quarter of clientBacklog, whatever follows."""
        self.server.say(1, bytes(self.most - 1))
        self.assertEqual(self.server.heard(), [])
        self.server.say(1, b"x")
        self.assertEqual(self.server.heard(), [paused(self.slow)])
        self.server.say(1, bytes(MIB))
        self.assertEqual(self.server.heard(), [])
        self.assertTrue(self.server.reading)

    def test_resumed(self) -> None:
        """When half of that is left."""
        self.server.say(1, bytes(self.most))
        self.server.heard()
        self.slow.drain(self.most // 2 - 1)
        self.assertLess(self.world.backlog, self.most // 2 + 1)
        self.assertEqual(self.server.heard(), [resumed(self.slow)])
        self.slow.drain()
        self.assertEqual(self.server.heard(), [])
        self.server.say(1, b"y")
        self.assertEqual(self.slow.take(), bytes(self.most) + b"y")

    def test_notYet(self) -> None:
        """More than half of it is left."""
        self.server.say(1, bytes(self.most))
        self.server.heard()
        self.slow.drain(0)
        self.assertGreater(self.world.backlog, self.most // 2)
        self.assertEqual(self.server.heard(), [])

    def test_again(self) -> None:
        """Each time that it is slow."""
        for _ in range(3):
            self.slow.room = 0
            self.server.say(1, b".")
            self.server.say(1, bytes(self.most))
            self.slow.drain()
            self.assertEqual(self.server.heard(), [paused(self.slow), resumed(self.slow)])

    def test_takesNothing(self) -> None:
        """It may do so for as long as it wants: nobody waits for it, and it loses nothing."""
        self.server.say(1, bytes(self.most))
        for _ in range(1000):
            self.clock.advance(STALLED)
            self.server.say(2, b"x")
            self.assertEqual(self.fast.take(), b"x")
        self.assertAlive(self.slow)
        self.slow.drain()
        self.assertEqual(self.slow.take(), bytes(self.most))

    def test_serverDoesNotHeed(self) -> None:
        """Beyond clientBacklog it waits, and so does the other client, but not for long."""
        for _ in range(9):
            self.server.say(1, bytes(MIB))
        self.assertFalse(self.server.reading)
        self.clock.advance(5.1)
        self.assertOver(self.slow, Outcome.CLIENT_TOO_SLOW)
        self.assertTrue(self.server.reading)
        self.assertEqual(self.server.heard(), [paused(self.slow), disconnected(1)])

    def test_serverLeaves(self) -> None:
        """What waits for the client is kept as long as for anybody."""
        self.server.say(1, bytes(self.most))
        self.clock.advance(10 * STALLED)
        self.server.leave()
        self.clock.advance(STALLED - 0.1)
        self.slow.drain()
        self.assertEqual(self.slow.take(), bytes(self.most))

    def test_serverLeavesAndNobodyReads(self) -> None:
        """Not longer, either."""
        self.server.say(1, bytes(self.most))
        self.server.leave()
        self.clock.advance(STALLED + 0.1)
        self.assertEqual(self.world.backlog, 0)
        self.assertOver(self.slow, Outcome.CLIENT_TOO_SLOW)

    def test_clientLeaves(self) -> None:
        """Who is gone is not resumed, and who gets its address is not paused."""
        self.server.say(1, bytes(self.most))
        self.slow.leave()
        self.assertEqual(self.server.heard(), [paused(self.slow), disconnected(1)])

    def test_leavingClientCatchesUp(self) -> None:
        """Its server disconnected it: nothing is told of it any more."""
        self.server.say(1, bytes(self.most))
        self.server.call("TunnelProxy.DisconnectClient", {"socketAddress": 1})
        self.assertIn(disconnected(1), self.server.heard())
        self.slow.drain()
        self.assertEqual(self.server.heard(), [])

    def test_notAsked(self) -> None:
        """A server that did not ask is not told, and its client has a minute."""
        server = self.world.server(2)
        slow = self.world.client(server)
        server.heard()
        slow.room = 0
        server.say(1, b".")
        server.say(1, bytes(self.most))
        self.assertEqual(server.heard(), [])
        self.clock.advance(STALLED + 0.1)
        self.assertOver(slow, Outcome.CLIENT_TOO_SLOW)


class TotalTests(SwitchboardCase):
    """What waits for all clients together."""

    terms = Terms(clientBacklog=8 * MIB, totalBacklog=2 * MIB, clientPatience=5.0, serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server(flowControl=True)
        self.clients = [self.world.client(self.server) for _ in range(3)]
        self.server.heard()
        for client in self.clients:
            client.room = 0
            self.server.say(client.address, b".")

    def test_quarterOfTheTotal(self) -> None:
        """Who has its share of that is to be paused, and is so before it has too much."""
        self.server.say(1, bytes(MIB // 4))
        self.server.say(2, bytes(MIB // 4))
        self.server.say(3, bytes(MIB // 8))
        self.assertEqual(self.server.heard(), [])
        self.server.say(1, b"x")
        self.assertEqual(self.server.heard(), [paused(self.clients[0])])
        self.server.say(1, bytes(100_000))
        self.server.say(3, b"x")
        self.assertEqual(self.server.heard(), [])
        self.assertTrue(self.server.reading)
        # It goes on when it has its share of half of that, whatever the others do.
        self.clients[0].drain(100_000)
        self.assertGreater(self.world.backlog, 3 * MIB // 8)
        self.assertEqual(self.server.heard(), [])
        self.clients[0].drain(150_000)
        self.assertEqual(self.server.heard(), [resumed(self.clients[0])])
        for client in self.clients:
            client.drain()
        self.assertEqual(self.server.heard(), [])

    def test_noRoomForEver(self) -> None:
        """Who takes nothing and has more than its share goes, be it long after."""
        silent, little, other = self.clients
        self.server.say(silent.address, bytes(3 * MIB // 4))
        self.server.say(little.address, bytes(MIB // 8))
        self.clock.advance(10 * STALLED)
        self.assertAlive(silent)
        for _ in range(3):
            self.server.say(other.address, bytes(MIB // 8))
            self.clock.advance(self.terms.clientPatience)
        self.assertOver(silent, Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(little, other, self.server)


class HeedingServer:
    """Sends to whom it may, and nothing else."""

    def __init__(self, leg: ServerLeg) -> None:
        self._leg = leg
        self._paused: set[int] = set()

    def say(self, client: ClientLeg, data: bytes) -> bool:
        """Send a client something, unless it is paused; tell whether it was sent."""
        for heard in self._leg.heard():
            assert isinstance(heard, dict)
            address = heard["params"]["socketAddress"]
            if heard["notification"].endswith("Paused"):
                assert address not in self._paused
                self._paused.add(address)
            elif heard["notification"].endswith("Resumed"):
                self._paused.remove(address)
        if client.address in self._paused:
            return False
        self._leg.say(client.address, data)
        return True


class HeedingTests(SynchronousTestCase):
    """A server that heeds what it is told."""

    @PROPERTY
    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 5000)), max_size=80)
    )
    def test_property(self, steps: list[tuple[int, int, int]]) -> None:
        """It never has to wait, nobody is given up, and each gets all that is meant for it."""
        # In steps of at most 5000 bytes, a quarter leaves room for the rest.
        world = World(Terms(clientBacklog=40_000, clientPatience=1.0, serverTimeout=0))
        leg = world.server(flowControl=True)
        clients = [world.client(leg) for _ in range(3)]
        server = HeedingServer(leg)
        due = dict.fromkeys(clients, b"")
        got = dict.fromkeys(clients, b"")
        for kind, who, size in steps:
            client = clients[who]
            if kind == 0:
                client.drain(size)
                world.clock.advance(10)
            elif kind == 1:
                client.room = size
            data = bytes([who]) * size
            if server.say(client, data):
                due[client] += data
            got[client] += client.take()
            self.assertTrue(leg.reading)
        world.clock.advance(100)
        for client in clients:
            self.assertIsNone(client.outcome)
            client.drain()
            got[client] += client.take()
            self.assertTrue(server.say(client, b"!"))
            self.assertEqual(got[client] + client.take(), due[client] + b"!")
        world.check(self)
