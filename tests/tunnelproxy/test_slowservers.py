"""Owns the checks of a server that does not keep up: which of its clients wait, and how long."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter

from nymearemoteproxy.common import turns
from nymearemoteproxy.meeting.place import PlaceRefused
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ServerRegistration,
    TunnelProxyError,
)
from nymearemoteproxy.tunnelproxy import serverend
from nymearemoteproxy.tunnelproxy.clientend import STALLED
from nymearemoteproxy.tunnelproxy.serverend import (
    SERVER_BACKLOG,
)
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.memory import oneTurn
from tests.support.switchboards import (
    MIB,
    PING,
    PONG,
    ClientLeg,
    ServerLeg,
    ThreeClientsCase,
    answer,
    calling,
    connected,
    disconnected,
    packet,
    uuid,
)


class SlowServerTests(ThreeClientsCase):
    """A server that does not read as fast as its clients send."""

    terms = Terms(serverTimeout=0, clientBacklog=MIB)

    def test_senders(self) -> None:
        """Who sends is paused until the server reads again; who does not, is not."""
        self.server.room = 3
        self.assertReading(True, True, True)
        self.clients[0].receive(b"a")
        self.assertReading(False, True, True)
        self.clients[2].receive(b"b")
        self.assertReading(False, True, False)
        self.assertTrue(self.server.reading)
        self.server.say(1, b"for a paused client")
        self.assertEqual(self.clients[0].take(), b"for a paused client")
        self.server.drain()
        self.assertReading(True, True, True)
        self.assertEqual(self.server.heard(), [(1, b"a"), (3, b"b")])
        self.clients[0].receive(b"c")
        self.assertReading(True, True, True)

    def test_blockedAgain(self) -> None:
        """When it takes only a little at a time they are paused again as they send."""
        self.server.room = 0
        for _ in range(3):
            self.clients[0].receive(b"a")
            self.assertReading(False, True, True)
            self.server.drain(0)
            self.assertReading(True, True, True)

    def test_inSlices(self) -> None:
        """However many clients there are, some are paused and read from again in one turn."""
        self.patch(serverend, "PAUSES_A_TURN", 2)
        self.patch(turns, "TURN", 0)
        self.clients += [self.world.client(self.server) for _ in range(3)]
        self.server.room = 0
        self.clients[0].receive(bytes(SERVER_BACKLOG + 1))

        def reading() -> int:
            return sum(client.reading for client in self.clients)

        counts = [reading()]
        for _ in range(2):
            oneTurn(self.clock)
            counts.append(reading())
        self.server.drain()
        counts.append(reading())
        for _ in range(2):
            oneTurn(self.clock)
            counts.append(reading())
        self.assertEqual(counts, [3, 1, 0, 2, 4, 6])

    def pauseAll(self) -> None:
        """Let each client send what blocks the server; from now on one goes on in each turn."""
        self.patch(serverend, "PAUSES_A_TURN", 1)
        self.patch(turns, "TURN", 0)
        self.server.room = 0
        for client in self.clients:
            client.receive(b"a")

    def test_fullInTheMiddle(self) -> None:
        """Those who were not read from yet wait on, and come first the next time."""
        self.pauseAll()
        self.server.drain(0)
        self.assertReading(True, False, False)
        self.clients[0].receive(b"b")
        oneTurn(self.clock)
        self.assertReading(False, False, False)
        self.server.drain(0)
        self.assertReading(False, True, False)

    def test_clientLeavesInTheMiddle(self) -> None:
        """It is passed over."""
        self.pauseAll()
        self.server.drain()
        self.clients[1].leave()
        for _ in range(2):
            oneTurn(self.clock)
        self.assertReading(True, True, True)

    def test_leavesInTheMiddle(self) -> None:
        """A server that leaves before all are read from again leaves nobody behind."""
        self.pauseAll()
        self.server.drain()
        self.clients[1].leave()
        self.server.leave()
        self.clock.advance(0)
        self.assertReading(True, True, True)
        self.assertOver(self.clients[2], Outcome.PARTNER_LEFT)

    def test_fromTheBeginning(self) -> None:
        """A server that was blocked before its tunnel began is so in it."""
        registration = ServerRegistration("", uuid(9))
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        server = ServerLeg(9)
        server.blocked, server.room = True, -1
        self.world.legs.append(server)
        tunnel.attach(server)
        client = self.world.client(server)
        client.receive(b"a")
        self.assertFalse(client.reading)
        server.drain()
        self.assertTrue(client.reading)

    def test_allClients(self) -> None:
        """When too much waits none is read from, and nobody new let in, until all is taken."""
        other = self.world.server(2)
        self.server.room = 0
        self.clients[0].receive(bytes(SERVER_BACKLOG // 2))
        early = self.world.client(self.server)
        self.assertReading(False, True, True)
        self.clients[1].receive(bytes(SERVER_BACKLOG))
        self.assertReading(False, False, False)
        self.assertFalse(early.reading)
        for _ in range(2):
            self.assertRefused(
                lambda: self.world.client(self.server),
                TunnelProxyError.INTERNAL_SERVER_ERROR,
                Outcome.SERVER_STALLED,
            )
        self.world.client(other)
        self.assertEqual(Outcome.SERVER_STALLED.closeCode, 1013)
        self.assertAlive(self.server, *self.clients, early)
        self.server.drain()
        self.assertReading(True, True, True)
        self.assertTrue(early.reading)
        client = self.world.client(self.server)
        self.assertEqual(
            self.server.heard(),
            [
                (1, bytes(SERVER_BACKLOG // 2)),
                connected(early),
                (2, bytes(SERVER_BACKLOG)),
                connected(client),
            ],
        )

    def test_bounded(self) -> None:
        """As long as nothing is read from it, what waits for a server has a bound."""
        self.server.room = 0
        clients = [*self.clients, *(self.world.client(self.server) for _ in range(97))]
        waits = 0
        for client in clients * 3:
            if client.reading:
                client.receive(bytes(65_536))
        for _ in range(200):
            if self.switchboard.clients < 100:
                break
            try:
                clients.append(self.world.client(self.server))
            except PlaceRefused:
                break
        waits = sum(len(data) for data in self.server.sent)
        self.assertLess(waits, SERVER_BACKLOG + 200_000)
        self.assertFalse(any(client.reading for client in clients))

    def test_turns(self) -> None:
        """When more clients send than may wait, those who could not are the first to go on."""
        clients = [self.world.client(self.server) for _ in range(96)]
        self.server.take()
        self.server.room = 0
        for _ in range(12):
            # As a poller does it, who is read from again comes behind those who wait already.
            for client in sorted(clients, key=attrgetter("resumed")):
                if client.reading:
                    client.receive(bytes(65_536))
            self.server.drain(0)
        pieces = Counter(address for address, _ in self.server.packets())
        self.assertEqual({pieces[client.address] for client in clients}, {2})

    def test_floodOfClients(self) -> None:
        """Nor is the bound passed by clients that come and go and send nothing."""
        self.server.room = 0
        came = 0
        for _ in range(20_000):
            try:
                self.world.client(self.server).leave()
            except PlaceRefused as refusal:
                self.assertIs(refusal.outcome, Outcome.SERVER_STALLED)
                break
            came += 1
        self.assertLess(sum(len(data) for data in self.server.sent), SERVER_BACKLOG + 1000)
        self.assertGreater(came, 100)
        self.server.drain()
        self.world.client(self.server)

    def test_clientLeaves(self) -> None:
        """One that is paused may leave; what it sent arrives, and then that it is gone."""
        self.server.room = 0
        self.clients[0].receive(b"a")
        self.clients[1].receive(b"b")
        self.clients[0].leave()
        self.clients[1].end()
        self.assertTrue(self.clients[1].reading, "till the end of its stream")
        self.clients[1].pauseReading()
        self.server.drain()
        self.assertFalse(self.clients[1].reading, "it is no business of the server's now")
        self.assertEqual(
            self.server.heard(), [(1, b"a"), (2, b"b"), disconnected(1), disconnected(2)]
        )

    def test_serverGone(self) -> None:
        """Its paused clients are read from, to their end."""
        self.server.room = 0
        self.clients[0].receive(bytes(2 * SERVER_BACKLOG))
        self.assertReading(False, False, False)
        self.server.leave()
        self.assertReading(True, True, True)
        for client in self.clients:
            self.assertOver(client, Outcome.PARTNER_LEFT)
            client.receive(b"dropped")

    def pauseWithRest(self) -> ClientLeg:
        """Return a client that is paused, and for which something waits."""
        client = self.clients[0]
        client.room = self.server.room = 0
        self.server.say(1, b".")
        self.server.say(1, b"rest")
        client.receive(b"a")
        self.assertReading(False, True, True)
        return client

    def test_clientLeavesSlowly(self) -> None:
        """A paused client that leaves is read from at once, whatever it still has to take."""
        client = self.pauseWithRest()
        client.end()
        self.assertAlive(client)
        self.assertReading(True, True, True)
        client.drain()
        self.assertEqual(client.take(), b".rest")
        self.assertOver(client, Outcome.PARTNER_LEFT)

    def test_serverGoneClientLeavesSlowly(self) -> None:
        """So it is when it leaves because its server is gone."""
        client = self.pauseWithRest()
        self.server.leave()
        self.assertAlive(client)
        self.assertReading(True, True, True)
        client.receive(b"dropped")
        client.drain()
        self.assertEqual(client.take(), b".rest")
        self.assertOver(client, Outcome.PARTNER_LEFT)

    def test_givenUpWhilePaused(self) -> None:
        """So it is for one that is given up."""
        client = self.pauseWithRest()
        self.clock.advance(STALLED + 0.1)
        self.assertOver(client, Outcome.CLIENT_TOO_SLOW)
        self.assertEqual(self.server.heard(), [(1, b"a"), disconnected(1)])

    def test_answersUnread(self) -> None:
        """Who does not read the answers need not ask; who reads again may go on."""
        self.server.room = 0
        self.server.receive(PING)
        self.assertFalse(self.server.reading)
        self.server.drain()
        self.assertTrue(self.server.reading)
        self.server.receive(PING)
        self.assertEqual(self.server.heard(), [PONG, PONG])

    def test_payloadWhileBlocked(self) -> None:
        """What is for its clients is taken although it reads nothing: that may be why."""
        self.server.room = 0
        self.clients[0].receive(b"question")
        for _ in range(10):
            self.server.say(1, b"answer")
        self.assertTrue(self.server.reading)
        self.assertEqual(self.clients[0].take(), b"answer" * 10)

    def test_floodOfPings(self) -> None:
        """A server that only asks is answered as it takes the answers; all are, in the end."""
        self.server.room = 0
        for _ in range(50):
            if self.server.reading:
                self.server.receive(PING * 1000)
        self.assertFalse(self.server.reading)
        answered = self.server.heard()
        self.assertLess(len(answered), 10)
        for _ in range(100):
            self.server.drain(0)
            self.assertFalse(self.server.reading)
        answered += self.server.heard()
        self.assertLess(len(answered), 200)
        self.assertReading(True, True, True)
        self.server.drain()
        self.clock.advance(0)
        self.assertTrue(self.server.reading)
        self.assertEqual(answered + self.server.heard(), [PONG] * 1000)

    def test_manyCallsAtOnce(self) -> None:
        """A packet full of calls is answered in many turns of the reactor; nothing more is read."""
        call = calling("TunnelProxy.Ping", {"timestamp": 7})
        self.server.say(0, call * (3 * CALLS_A_TURN))
        self.assertFalse(self.server.reading)
        answered = self.server.heard()
        self.assertEqual(answered, [PONG] * CALLS_A_TURN)
        self.clock.advance(0)
        self.assertEqual(answered + self.server.heard(), [PONG] * (3 * CALLS_A_TURN))
        self.assertTrue(self.server.reading)
        self.server.say(0, call * (2 * CALLS_A_TURN))
        self.server.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_callsWait(self) -> None:
        """Nor are other calls carried out before they can be answered, or after the end."""
        call = packet(0, calling("TunnelProxy.DisconnectClient", {"socketAddress": 2}))
        self.server.room = 0
        self.server.receive(PING + call + packet(2, b"x") + packet(0, b"x") + PING)
        self.assertAlive(self.server, *self.clients)
        self.assertEqual(self.clients[1].take(), b"x")
        self.server.drain()
        pong, done, gone, error = self.server.heard()
        self.assertEqual((pong, done, gone), (PONG, answer("NoError"), disconnected(2)))
        self.assertOver(self.clients[1], Outcome.DISCONNECTED_BY_SERVER)
        self.assertOver(self.server, Outcome.INVALID_JSON)

    def test_goneWithCallsUnanswered(self) -> None:
        """A server that is gone is answered nothing."""
        self.server.room = 0
        self.server.receive(PING + packet(0, b"x"))
        self.server.heard()
        self.server.leave()
        self.assertEqual(self.server.heard(), [])
        for client in self.clients:
            self.assertOver(client, Outcome.PARTNER_LEFT)

    def test_goneWithinItsAnswers(self) -> None:
        """Blocked or not, after the call that ends it nothing is delivered or answered."""
        for room in (None, 0):
            server = self.world.server(10)
            client = self.world.client(server)
            server.heard()
            server.receive(b"\xc0")
            server.room = room
            server.receive(packet(1, b"x") + packet(0, b"x}") + packet(1, b"y") + PING)
            self.assertOver(server, Outcome.INVALID_JSON)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"x")
            self.assertEqual(len(server.heard()), 1)

    def test_heldUpForBoth(self) -> None:
        """It is read from again when neither it nor a client has to be waited for."""
        for order in (0, 1):
            server = self.world.server(10 + order)
            client = self.world.client(server)
            client.room = server.room = 0
            server.say(1, b".")
            server.say(1, bytes(MIB))
            server.receive(packet(1, bytes(100_000)) + PING)
            self.assertFalse(server.reading)
            first, second = (client, server) if order else (server, client)
            first.drain()
            self.assertFalse(server.reading)
            second.drain()
            self.assertTrue(server.reading)
