"""Owns the checks of what strangers, whose clients take next to nothing, can do to all others."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy import clientend
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, STALLED
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import MIB, ClientLeg, ServerLeg, SwitchboardCase, paused

LITTLE = 600_000


class StrangersCase(SwitchboardCase):
    """Somebody's server with flow control, of whose two clients one has stopped to read."""

    terms = Terms(clientBacklog=4 * MIB, totalBacklog=32 * MIB, clientPatience=3.0, serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.strangers: list[tuple[ServerLeg, ClientLeg]] = []
        self.waiting: dict[ClientLeg, int] = {}
        self.server = self.world.server(1, flowControl=True)
        self.slow, self.fast = (self.world.client(self.server) for _ in range(2))
        self.clock.advance(1000)

    def stall(self) -> None:
        """Let the client stop, with as little waiting for it as a page."""
        self.server.heard()
        self.slow.room = 0
        self.server.say(1, b".")
        self.server.say(1, bytes(LITTLE))

    def come(self, server: ServerLeg) -> None:
        """Let one more client of a stranger's server come, that takes next to nothing."""
        client = self.world.client(server)
        client.room = 0
        if server.reading:
            server.say(client.address, b".")
        self.strangers.append((server, client))
        self.waiting[client] = 0

    def fill(self) -> None:
        """Let strangers have as much wait as they are let, but no client more than it may have."""
        for _ in range(self.terms.clientBacklog // SLICE_SIZE):
            for server, client in self.strangers:
                waiting = self.waiting[client] + SLICE_SIZE
                if server.reading and self.isThere(client) and waiting < self.terms.clientBacklog:
                    self.waiting[client] = waiting
                    server.say(client.address, bytes(SLICE_SIZE))

    def isThere(self, client: ClientLeg) -> bool:
        """Whether a stranger's client was not given up."""
        return client.outcome is None

    def takeSome(self, client: ClientLeg) -> None:
        """Let a client take something, so that nobody can say that it took nothing."""
        client.drain(0)
        self.waiting[client] -= len(client.take())

    def trickle(self) -> None:
        """Let strangers' clients take something, and have more wait."""
        for _server, client in self.strangers:
            if self.isThere(client):
                self.takeSome(client)
        self.fill()

    def checkNobodyNotices(self) -> None:
        """For a while strangers do what they can, and the others have it as if they were alone."""
        for _ in range(3 * int(self.terms.clientPatience)):
            self.clock.advance(1)
            self.trickle()
            self.assertTrue(self.server.reading)
            self.server.say(1, b"x")
            self.server.say(2, b"hello")
            self.assertTrue(self.server.reading)
            self.assertEqual(self.fast.take(), b"hello")
            self.assertAlive(self.slow, self.fast, self.server)
            self.assertEqual(self.server.heard(), [])
            self.assertLessEqual(self.world.backlog, self.terms.totalBacklog)
        self.assertGreater(self.world.backlog, self.terms.totalBacklog // 2)


class ManyServersTests(StrangersCase):
    """Strangers with many servers of one client each."""

    def setUp(self) -> None:
        super().setUp()
        for number in range(100, 112):
            self.come(self.world.server(number))

    def test_before(self) -> None:
        """Those who come later are given up for nobody, nor held up."""
        self.fill()
        self.stall()
        self.checkNobodyNotices()

    def test_behind(self) -> None:
        """Nor are those who were there first."""
        self.stall()
        self.fill()
        self.checkNobodyNotices()

    def test_fast(self) -> None:
        """A client that only pauses for a moment costs no notices."""
        self.fill()
        self.server.heard()
        for _ in range(50):
            self.slow.room = 0
            self.server.say(1, bytes(1000))
            self.server.say(1, bytes(1000))
            self.slow.drain()
            self.assertEqual(len(self.slow.take()), 2000)
        self.assertEqual(self.server.heard(), [])


class OneAddressTests(StrangersCase):
    """A stranger with more servers than anybody could have a share beside."""

    def test_manyServers(self) -> None:
        """All servers of an address have one share."""
        for number in range(100, 180):
            self.come(self.world.server(number, Origin(number, source="2001:db8::/64")))
        self.stall()
        self.fill()
        self.checkNobodyNotices()


class OneServerTests(StrangersCase):
    """A stranger with one server and many clients."""

    def test_manyClients(self) -> None:
        """They have one share together."""
        server = self.world.server(100)
        for _ in range(60):
            self.come(server)
        self.fill()
        self.stall()
        self.checkNobodyNotices()

    def test_manyClientsAndFlowControl(self) -> None:
        """Nor does it help that it is told, and does not heed it."""
        server = self.world.server(100, flowControl=True)
        for _ in range(60):
            self.come(server)
        self.stall()
        self.fill()
        self.checkNobodyNotices()


class VisitorsTests(StrangersCase):
    """Strangers who are clients of the very same server, which heeds what it is told."""

    def test_manyVisitors(self) -> None:
        """Who has most is to be paused, and not who has little."""
        visitors = [self.world.client(self.server) for _ in range(10)]
        self.stall()
        for visitor in visitors:
            visitor.room = 0
            self.server.say(visitor.address, b".")
        toldOf: list[Any] = []
        for _ in range(64):
            for visitor in visitors:
                if paused(visitor) not in toldOf:
                    self.server.say(visitor.address, bytes(SLICE_SIZE))
                    toldOf += self.server.heard()
            self.server.say(1, b"x")
            self.server.say(2, b"hello")
            self.assertTrue(self.server.reading)
        self.assertCountEqual(toldOf, [paused(visitor) for visitor in visitors])
        self.assertEqual(self.server.heard(), [])
        self.assertGreater(self.world.backlog, self.terms.totalBacklog // 4)
        self.assertLess(self.world.backlog, self.terms.totalBacklog // 2)


class BoundTests(StrangersCase):
    """Many who come one after the other, each of whom is let have its share."""

    def test_neverMoreThanTheTotal(self) -> None:
        """Then those who have most are given up, and not the others."""
        self.stall()
        for number in range(100, 160):
            self.come(self.world.server(number))
            self.fill()
            self.assertLessEqual(self.world.backlog, self.terms.totalBacklog)
        gone = [client for _server, client in self.strangers if not self.isThere(client)]
        self.assertGreater(len(gone), 1)
        for client in gone:
            self.assertOver(client, Outcome.CLIENT_TOO_SLOW)
        self.assertIn(self.strangers[0][1], gone)
        self.assertAlive(self.slow, self.fast, *(server for server, _client in self.strangers))
        self.assertTrue(self.server.reading)

    def test_theLargest(self) -> None:
        """Of those of an address it is the largest."""
        sizes = {2: 3 * MIB, 3: 7 * MIB // 2, 4: 2 * MIB}
        legs = {}
        for number, size in sizes.items():
            origin = Origin(number, source="192.0.2.1")
            server = self.world.server(number, origin)
            self.come(server)
            server.say(1, bytes(size))
            legs[number] = self.strangers[-1][1]
        others = []
        for number in range(100, 107):
            server = self.world.server(number)
            self.come(server)
            others.append(self.strangers[-1][1])
            server.say(1, bytes(3 * MIB))
        self.assertAlive(*others, *legs.values())
        server = self.world.server(200)
        self.come(server)
        server.say(1, bytes(3 * MIB))
        self.assertOver(legs[3], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(*others, legs[2], legs[4], self.strangers[-1][1])


class LongPatienceTests(StrangersCase):
    """How long what is for a client that takes nothing is kept."""

    def test_moreThanOnItsWay(self) -> None:
        """A server that sends on to a client that is paused keeps it for a minute."""
        self.slow.room = 0
        self.server.say(1, b".")
        for _ in range(40):
            self.server.say(1, bytes(SLICE_SIZE))
        self.assertGreater(self.world.backlog, self.terms.clientBacklog // 2)
        self.assertTrue(self.server.reading)
        self.clock.pump([1.0] * int(STALLED - 1))
        self.assertAlive(self.slow)
        self.clock.pump([1.0] * 2)
        self.assertOver(self.slow, Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(self.fast)

    def test_moreThanAShare(self) -> None:
        """So it is for those who have more than a share of it all."""
        server = self.world.server(100, flowControl=True)
        for _ in range(18):
            self.come(server)
        for _, client in self.strangers:
            server.say(client.address, bytes(15 * MIB // 16))
        self.stall()
        self.clock.pump([3.0] * 40)
        self.assertLessEqual(self.world.backlog, self.terms.totalBacklog // 2 + 2 * LITTLE)
        self.assertAlive(self.slow)


class WorkTests(StrangersCase):
    """What a packet costs while very many clients are behind."""

    def test_packets(self) -> None:
        """It does not depend on how many there are."""
        looks = Counter[str]()

        def look(end: Any) -> int:
            looks["waiting"] += 1
            return waiting.__get__(end)

        def find(end: Any) -> int:
            looks["hash"] += 1
            return object.__hash__(end)

        waiting: Any = clientend.ClientEnd.waiting
        self.patch(clientend.ClientEnd, "waiting", property(look, waiting.__set__))
        self.patch(clientend.ClientEnd, "__hash__", find)
        for number in range(100, 400):
            self.come(self.world.server(number))
        self.fill()
        for _server, client in self.strangers:
            self.clock.advance(0.001)
            self.takeSome(client)
            self.fill()
        self.clock.advance(self.terms.clientPatience - 0.3005)
        looks.clear()
        for _server, client in self.strangers[:100]:
            self.clock.advance(0.001)
            if self.isThere(client):
                self.takeSome(client)
                self.fill()
            self.slow.room = 0
            self.server.say(1, b".")
            self.server.say(1, b"x")
            self.slow.drain()
        self.assertGreater(self.world.backlog, self.terms.totalBacklog // 2)
        self.assertLess(looks.total(), 100 * 100)
