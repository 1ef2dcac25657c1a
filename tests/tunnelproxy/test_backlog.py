"""Owns the checks of what may wait for all clients and servers together."""

from __future__ import annotations

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.clientend import STALLED
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import (
    MIB,
    SwitchboardCase,
    calling,
    packet,
)


class TotalBacklogTests(SwitchboardCase):
    """All slow clients together."""

    terms = Terms(clientBacklog=MIB, totalBacklog=3 * MIB, clientPatience=5.0, serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.servers = [self.world.server(number) for number in range(3)]
        self.clients = [self.world.client(server) for server in self.servers]
        for server in self.servers:
            self.world.client(server)  # which must not wait for the other for too long

    def send(self, place: int, size: int) -> None:
        """Let a server send to its client."""
        self.servers[place].say(1, bytes(size))

    def stall(self, place: int) -> None:
        """Let a client stop reading, with something written to it."""
        self.clients[place].room = 0
        self.send(place, 1)

    def assertReading(self, *expected: bool) -> None:
        """These servers are read from, the others not."""
        self.assertEqual(tuple(server.reading for server in self.servers), expected)

    def test_total(self) -> None:
        """Beyond half of it who has more than its share is treated as if it were too much."""
        for place in range(3):
            self.stall(place)
        self.send(0, 3 * MIB // 4)
        self.send(1, 3 * MIB // 4)
        self.assertReading(True, True, True)
        self.send(2, 1)
        self.assertReading(True, True, True)
        self.send(1, 1)
        self.assertReading(True, False, True)
        self.send(2, MIB // 4)
        self.assertReading(True, False, True)
        self.clock.advance(4.9)
        self.assertAlive(*self.clients)
        self.clock.advance(0.2)
        self.assertOver(self.clients[1], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(self.clients[0], self.clients[2], *self.servers)
        self.assertEqual(self.world.backlog, MIB + 1)
        self.assertReading(True, True, True)

    def test_goesOnWithinItsShare(self) -> None:
        """It need not have taken all, though there is still too little room for all."""
        for place in range(3):
            self.stall(place)
        self.send(0, MIB)
        self.send(1, 7 * MIB // 8)
        self.send(2, MIB // 2)
        self.assertReading(True, False, True)
        for _ in range(5):
            self.clients[1].drain(0)
        self.assertGreater(self.world.backlog, 3 * MIB // 2)
        self.assertReading(True, False, True)
        self.clients[0].drain()
        self.assertReading(True, True, True)

    def test_othersHaveLess(self) -> None:
        """When its share has grown it is within it, and nobody has to wait any longer."""
        for place in range(3):
            self.stall(place)
        self.send(0, MIB)
        self.send(1, MIB)
        self.send(2, 600_000)
        self.assertReading(True, False, False)
        self.clock.advance(4)
        self.clients[0].drain(MIB - 300_000)
        self.assertGreater(self.world.backlog, 3 * MIB // 2)
        self.assertReading(True, False, False)
        self.clock.advance(1)
        self.assertAlive(self.clients[2])
        self.assertReading(True, True, True)

    def test_whoStandsStillAndGetsMore(self) -> None:
        self.stall(0)
        self.send(0, 1)
        self.clock.advance(5.1)
        self.assertAlive(self.clients[0])
        self.send(0, 2 * MIB)
        self.assertOver(self.clients[0], Outcome.CLIENT_TOO_SLOW)
        self.assertEqual(self.world.backlog, 0)

    def test_fastClients(self) -> None:
        """Who is not behind does not notice."""
        self.stall(0)
        self.stall(1)
        self.send(0, MIB)
        self.send(1, MIB)
        self.assertReading(True, False, True)
        self.send(2, 2 * MIB)
        self.assertEqual(len(self.clients[2].take()), 2 * MIB)
        self.assertReading(True, False, True)

    def behindForTheTotal(self) -> None:
        """Let the last client be held to the total, and the one before it as well."""
        self.stall(2)
        self.clock.advance(1)
        self.stall(0)
        self.stall(1)
        self.send(0, MIB)
        self.clock.advance(3)
        self.send(1, 3 * MIB // 4 + 1)
        self.send(2, MIB // 2 + 10)
        self.assertReading(True, False, False)

    def test_nothingWaits(self) -> None:
        """A client that has taken all is not too slow, whatever waits for others."""
        self.behindForTheTotal()
        self.clients[2].drain()
        self.assertEqual(len(self.clients[2].take()), MIB // 2 + 11)
        self.assertReading(True, False, True)
        self.clock.advance(1.5)
        self.assertAlive(self.clients[2])

    def test_othersCatchUp(self) -> None:
        """Who was behind too far only for the total is no longer when the others take theirs."""
        self.behindForTheTotal()
        self.clients[0].drain()
        self.assertEqual(self.world.backlog, 5 * MIB // 4 + 11)
        self.clock.advance(1.5)
        self.assertAlive(self.clients[2])
        self.assertReading(True, True, True)

    def test_goOnInOrder(self) -> None:
        """Of those who were held to the total the server goes on first that has waited longest."""
        self.servers += [self.world.server(number) for number in range(10, 20)]
        self.clients += [self.world.client(server) for server in self.servers[3:]]
        order = [7, 3, 11, 5, 2, 9, 1, 8, 12, 4, 10, 6]
        for place in (0, *order):
            self.stall(place)
        self.send(0, 3 * MIB // 2)
        for size in (120_000, 2_000):
            for place in order:
                self.send(place, size)
        self.assertEqual(self.world.late, 13)
        self.clients[0].drain()
        self.assertEqual(sorted(order, key=lambda place: self.servers[place].resumed), order)

    def test_leavesWhenOthersCatchUp(self) -> None:
        """Who is leaving has its minute for the rest, and no more, whatever the others do."""
        self.behindForTheTotal()
        self.clients[2].end()
        self.assertEqual(self.world.late, 1)
        self.clients[0].drain()
        self.clock.advance(STALLED - 4.1)
        self.assertAlive(self.clients[2])
        self.clock.advance(0.2)
        self.assertOver(self.clients[2], Outcome.CLIENT_TOO_SLOW)

    def test_behindByItself(self) -> None:
        """Who was behind for the total goes on, but not who is behind too far by itself."""
        for place in range(3):
            self.stall(place)
        self.send(0, MIB)
        self.send(1, MIB // 2 + 1)
        self.send(2, MIB + 40_000)
        self.send(1, 1)
        self.assertReading(True, False, False)
        self.clients[2].drain(0)
        self.assertReading(True, False, False)
        self.clients[0].leave()
        self.assertReading(True, True, False)
        self.clock.advance(5.1)
        self.assertOver(self.clients[2], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(self.clients[1])

    def test_leavingClients(self) -> None:
        """What waits for those that are leaving counts as long as it waits."""
        self.stall(0)
        self.send(0, MIB)
        self.stall(1)
        self.stall(2)
        self.servers[0].leave()
        self.send(1, 3 * MIB // 4 + 1)
        self.assertFalse(self.servers[1].reading)
        self.clock.advance(4)
        for _ in range(5):
            self.clients[0].drain(0)
        self.assertTrue(self.servers[1].reading)


class UnfinishedTests(SwitchboardCase):
    """What servers have begun and not ended is in the total, too."""

    terms = Terms(clientBacklog=2 * MIB, totalBacklog=2 * MIB, clientPatience=5.0, serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.servers = [self.world.server(number) for number in range(3)]
        self.clients = [self.world.client(server) for server in self.servers]

    def begin(self, place: int, size: int) -> None:
        """Let a server begin a packet for its client, or go on with it."""
        self.servers[place].receive(bytes([0, 1]) * (size // 2))

    def assertGone(self, *gone: int) -> None:
        """These servers are disconnected for it, with their clients, and the others are not."""
        for place, (server, client) in enumerate(zip(self.servers, self.clients, strict=True)):
            if place in gone:
                self.assertOver(server, Outcome.TOO_MUCH_UNFINISHED)
                self.assertOver(client, Outcome.PARTNER_LEFT)
            else:
                self.assertAlive(server, client)

    def test_largestGoesFirst(self) -> None:
        """Beyond the total the server with the largest packet goes; the others can end theirs."""
        self.begin(0, MIB // 2)
        self.begin(1, MIB)
        self.begin(2, MIB // 2)
        self.assertEqual(self.world.backlog, 2 * MIB)
        self.assertGone()
        self.begin(2, 2)
        self.assertGone(1)
        self.assertEqual(self.world.backlog, MIB + 2)
        for place in 0, 2:
            self.servers[place].receive(b"\xc0")
            self.assertEqual(len(self.clients[place].take()), MIB // 2 - (0 if place else 2))
        self.assertEqual(self.world.backlog, 0)

    def test_itself(self) -> None:
        """It may be the one that sends."""
        self.begin(0, MIB)
        self.begin(1, 3 * MIB)
        self.assertGone(1)

    def test_moreThanAQuarter(self) -> None:
        """Then a server has to go for its packet, and no client that has no more than its share."""
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.servers[0].say(1, bytes(MIB))
        self.begin(1, MIB // 2)
        self.begin(2, MIB // 2 - 2)
        self.assertGone()
        self.begin(2, 4)
        self.assertGone(2)

    def test_clientsNeedMore(self) -> None:
        """Up to there clients go, as they do without any packets."""
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.servers[0].say(1, bytes(3 * MIB // 2 + 2))
        self.begin(1, MIB // 2 - 2)
        self.assertAlive(*self.servers, *self.clients)
        self.begin(1, 2)
        self.assertOver(self.clients[0], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(*self.servers)
        self.assertEqual(self.world.backlog, MIB // 2)

    def test_clientsMakeItTooMuch(self) -> None:
        """It makes no difference what is the last straw."""
        self.begin(1, 3 * MIB // 2)
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.servers[0].say(1, bytes(MIB))
        self.assertGone(1)
        self.assertEqual(self.world.backlog, MIB)

    def test_endOfAPacket(self) -> None:
        """A packet is not counted twice when it has an end, once here and once for its client."""
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.begin(0, 3 * MIB // 2)
        self.servers[0].receive(b"\xc0")
        self.assertGone()
        self.assertEqual(self.world.backlog, 3 * MIB // 2 - 2)

    def test_calls(self) -> None:
        """Nor can calls be heaped up whose answers are not taken."""
        call = calling("RemoteProxy.Hello")
        for place in range(2):
            self.servers[place].room = 0
            self.servers[place].receive(packet(0, call * ((9 + place) * MIB // 10 // len(call))))
        self.assertGone()
        self.begin(2, MIB // 2)
        self.assertGone(1)

    def test_invalid(self) -> None:
        """What cannot become a packet is not kept, and not counted."""
        self.begin(0, MIB)
        self.servers[0].receive(b"\xdb\xdb")
        self.assertEqual(self.world.backlog, 0)

    def test_slowClientsOfOneThatIsGone(self) -> None:
        """They do not keep it in memory."""
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.servers[0].say(1, b"rest")
        self.begin(0, MIB)
        self.servers[0].leave()
        self.assertEqual(self.world.backlog, 4)
        self.assertAlive(self.clients[0])
        self.clients[0].drain()
