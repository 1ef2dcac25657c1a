"""Owns the checks of a client that does not keep up: who waits for it, and when it is given up."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    TunnelProxyError,
)
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, STALLED
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import (
    MIB,
    ClientLeg,
    ServerLeg,
    SwitchboardCase,
    answer,
    calling,
    disconnected,
    packet,
)


class SlowClientTests(SwitchboardCase):
    """A client that does not read as fast as its server sends."""

    terms = Terms(clientBacklog=MIB, totalBacklog=64 * MIB, clientPatience=5.0, serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.slow, self.fast = (self.world.client(self.server) for _ in range(2))
        self.server.heard()
        self.clock.advance(1000)

    def stall(self, client: ClientLeg, server: ServerLeg | None = None) -> None:
        """Let a client stop reading, with something written to it (forgotten here)."""
        client.room = 0
        (server or self.server).say(client.address, b".")
        self.assertTrue(client.blocked)
        self.assertEqual(client.take(), b".")

    def assertDisconnected(self, client: ClientLeg) -> None:
        """It was too slow; what waited is dropped, and the server is told and read from."""
        self.assertOver(client, Outcome.CLIENT_TOO_SLOW)
        self.assertEqual(self.server.heard(), [disconnected(client.address)])
        self.assertTrue(self.server.reading)
        self.assertEqual(self.world.backlog, 0)

    def test_withinTheBacklog(self) -> None:
        """Up to clientBacklog nobody notices, and it gets all in the end."""
        self.stall(self.slow)
        data = [bytes([number]) * (MIB // 8) for number in range(8)]
        for each in data:
            self.server.say(1, each)
            self.server.say(2, each)
            self.assertEqual(self.fast.take(), each)
            self.clock.advance(7)  # that is longer than clientPatience, all in all
        self.assertEqual(self.world.backlog, MIB)
        self.assertTrue(self.server.reading)
        self.assertAlive(self.slow, self.fast)
        self.assertEqual(self.slow.take(), b"")
        self.slow.drain()
        self.assertEqual(self.slow.take(), b"".join(data))
        self.assertEqual(self.world.backlog, 0)
        self.assertEqual(self.server.heard(), [])

    def test_takesNothing(self) -> None:
        """Also within the backlog it has to take something, once in a minute."""
        self.stall(self.slow)
        for _ in range(12):
            self.server.say(1, bytes(10_000))
            self.clock.advance(4.99)
        self.assertTrue(self.server.reading)
        self.assertAlive(self.slow, self.fast)
        self.clock.advance(0.2)
        self.assertEqual(self.slow.take(), b"")
        self.assertDisconnected(self.slow)
        self.assertAlive(self.server, self.fast)

    def test_tookNothing(self) -> None:
        """Who did not while nothing waited here is disconnected when something comes."""
        self.stall(self.slow)
        self.clock.advance(STALLED + 0.1)
        self.assertAlive(self.slow)
        self.server.say(1, b"x")
        self.assertEqual(self.slow.take(), b"")
        self.assertDisconnected(self.slow)

    def test_takesLittle(self) -> None:
        """Within the backlog it may go on like that for ever; when it stops a minute is left."""
        self.stall(self.slow)
        self.server.say(1, bytes(MIB // 2))
        for _ in range(100):
            self.clock.advance(STALLED - 0.1)
            self.assertAlive(self.slow)
            self.slow.drain(0)
            self.server.say(1, self.slow.take())
            self.assertTrue(self.server.reading)
        self.assertEqual(self.world.backlog, MIB // 2)
        self.clock.advance(STALLED - 0.1)
        self.assertAlive(self.slow)
        self.clock.advance(0.2)
        self.assertDisconnected(self.slow)

    def test_loneClient(self) -> None:
        """One that keeps no other waiting has a minute, however far it is behind."""
        self.fast.leave()
        self.stall(self.slow)
        self.server.heard()
        self.server.say(1, bytes(2 * MIB))
        for pause in (4.9, 20, 35):
            self.clock.advance(pause)
            self.assertAlive(self.slow)
        self.assertFalse(self.server.reading)
        self.slow.drain(0)
        self.slow.take()
        self.clock.advance(59.9)
        self.assertAlive(self.slow)
        self.assertFalse(self.server.reading)
        self.clock.advance(0.2)
        self.assertDisconnected(self.slow)

    def test_newcomer(self) -> None:
        """A client that comes need not wait for that minute, but for clientPatience at most."""
        for already in (2, 30, 49):
            server = self.world.server(10 + already)
            slow = self.world.client(server)
            self.stall(slow, server)
            server.say(1, bytes(2 * MIB))
            for _ in range(already):
                self.clock.advance(1)
            self.assertAlive(slow)
            self.assertFalse(server.reading)
            newcomer = self.world.client(server)
            server.heard()
            self.clock.advance(2.9)  # now it has taken nothing for 4.9 seconds, or more
            self.assertFalse(already == 2 and slow.outcome)
            self.clock.advance(2.1)
            self.assertOver(slow, Outcome.CLIENT_TOO_SLOW)
            self.assertEqual(server.heard(), [disconnected(1)])
            self.assertTrue(server.reading)
            self.assertAlive(server, newcomer)

    def test_newcomerBehindASlowOne(self) -> None:
        """It waits for one that keeps taking something."""
        server = self.world.server(10)
        slow = self.world.client(server)
        self.stall(slow, server)
        server.say(1, bytes(2 * MIB))
        self.clock.advance(30)
        slow.drain(0)
        newcomer = self.world.client(server)
        for _ in range(10):
            self.clock.advance(4.9)
            self.assertFalse(server.reading)
            self.assertAlive(slow, newcomer)
            slow.drain(0)
        self.clock.advance(4.9)
        self.assertAlive(slow)
        self.clock.advance(5.1)
        self.assertOver(slow, Outcome.CLIENT_TOO_SLOW)
        self.assertTrue(server.reading)

    def test_beyondTheBacklog(self) -> None:
        """One byte more, and the server is not read from until the client is disconnected."""
        self.stall(self.slow)
        self.server.say(1, bytes(MIB))
        self.assertTrue(self.server.reading)
        self.server.receive(packet(1, b"!") + packet(2, b"in the same read"))
        self.assertFalse(self.server.reading)
        self.assertEqual(self.fast.take(), b"in the same read")
        self.clock.advance(4.9)
        self.assertAlive(self.slow, self.fast)
        self.fast.receive(b"hello")
        self.assertEqual(self.server.heard(), [(2, b"hello")])
        self.clock.advance(0.2)
        self.assertEqual(self.slow.take(), b"")
        self.assertDisconnected(self.slow)
        self.assertAlive(self.server, self.fast)
        self.assertCounts(1, 1)

    def test_moreWhileHeldUp(self) -> None:
        """What arrived in the same read is still taken, and changes nothing."""
        self.stall(self.slow)
        stream = packet(1, bytes(MIB)) + packet(1, b"abc") * 50
        self.server.receive(stream)
        self.assertFalse(self.server.reading)
        self.slow.drain()
        self.assertEqual(self.slow.take(), bytes(MIB) + b"abc" * 50)
        self.assertTrue(self.server.reading)
        self.clock.advance(100)
        self.assertAlive(self.server, self.slow)

    def test_patienceIsFromTheLastProgress(self) -> None:
        """The time begins when the client stopped taking, not when that was too long."""
        self.stall(self.slow)
        self.clock.advance(3)
        self.server.say(1, bytes(MIB + 1))
        self.assertFalse(self.server.reading)
        self.clock.advance(1.9)
        self.assertAlive(self.slow)
        self.clock.advance(0.2)
        self.assertDisconnected(self.slow)

    def test_noPatienceLeft(self) -> None:
        """Who took nothing for that long is disconnected at once; the server never has to wait."""
        self.stall(self.slow)
        self.clock.advance(5.1)
        self.server.say(1, bytes(MIB))
        self.assertAlive(self.slow)
        self.server.receive(packet(1, b"!") + packet(1, b"?") + packet(2, b"x"))
        self.assertDisconnected(self.slow)
        self.assertEqual(self.fast.take(), b"x")
        self.assertEqual(self.slow.take(), b"")

    def test_progress(self) -> None:
        """Whatever a client takes gives it the whole time again."""
        self.stall(self.slow)
        for _ in range(5):
            self.server.say(1, bytes(100_000))
            self.clock.advance(4)
            self.slow.drain(0)
            self.assertTrue(self.slow.blocked)
        self.clock.advance(1)
        self.server.say(1, bytes(MIB))
        self.assertFalse(self.server.reading)
        self.clock.advance(3.9)
        self.assertAlive(self.slow)
        self.slow.sent.clear()
        self.clock.advance(0.2)
        self.assertDisconnected(self.slow)

    def test_pingIsNoProgress(self) -> None:
        """What else is written to a blocked client, such as a ping, gives it no more time."""
        self.stall(self.slow)
        for _ in range(3):
            self.clock.advance(1)
            self.slow.partner.pauseReading()  # as with everything that is written
        self.server.say(1, bytes(MIB + 1))
        self.clock.advance(1.9)
        self.assertAlive(self.slow)
        self.clock.advance(0.2)
        self.assertDisconnected(self.slow)

    def test_nothingToTake(self) -> None:
        """A client that was sent nothing for long did not stand still meanwhile."""
        self.stall(self.slow)
        self.slow.drain()
        self.clock.advance(100)
        self.stall(self.slow)
        self.server.say(1, bytes(MIB + 1))
        self.assertFalse(self.server.reading)
        self.clock.advance(4.9)
        self.assertAlive(self.slow)
        self.slow.drain()
        self.assertTrue(self.server.reading)

    def test_catchingUp(self) -> None:
        """When it has taken enough the server goes on, long before all is taken."""
        self.stall(self.slow)
        data = bytes(range(256)) * (MIB // 256 + 300)
        self.server.say(1, data)
        self.assertFalse(self.server.reading)
        self.clock.advance(4.9)
        taken = b""
        while not self.server.reading:
            self.slow.drain(0)
            taken += self.slow.take()
            self.assertLess(len(taken), MIB // 4, "that should be enough")
        self.assertGreater(self.world.backlog, MIB // 2)
        self.assertEqual(self.world.late, 0)
        self.clock.advance(59.9)
        self.assertAlive(self.slow)
        self.slow.drain()
        self.assertEqual(taken + self.slow.take(), data)
        self.assertEqual(self.server.heard(), [])

    def test_catchingUpSlowly(self) -> None:
        """As long as there is progress the server waits; clientPatience begins with each anew."""
        self.stall(self.slow)
        data = bytes(range(128)) * (2 * MIB // 128)
        self.server.say(1, data)
        taken, seconds = b"", 0.0
        while not self.server.reading:
            self.clock.advance(4.9)
            seconds += 4.9
            self.assertAlive(self.slow)
            self.slow.drain(0)
            taken += self.slow.take()
        self.assertGreater(seconds, STALLED)
        self.assertLessEqual(self.world.backlog, MIB)
        self.slow.drain()
        self.assertEqual(taken + self.slow.take(), data)
        self.assertEqual(self.server.heard(), [])

    def test_stopsCatchingUp(self) -> None:
        """When there is no progress any more the server waits for clientPatience, not longer."""
        self.stall(self.slow)
        self.server.say(1, bytes(2 * MIB))
        for _ in range(9):
            self.clock.advance(4.5)
            self.slow.drain(0)
            self.slow.take()
            self.assertFalse(self.server.reading)
        self.clock.advance(4.9)
        self.assertAlive(self.slow)
        self.clock.advance(0.2)
        self.assertDisconnected(self.slow)

    def test_behindAgain(self) -> None:
        """Who has caught up and is behind once more has its time again."""
        for _ in range(3):
            self.stall(self.slow)
            self.server.say(1, bytes(MIB + 1))
            self.assertFalse(self.server.reading)
            self.clock.advance(4.9)
            self.slow.drain()
            self.assertTrue(self.server.reading)
            self.assertEqual(len(self.slow.take()), MIB + 1)
        self.assertAlive(self.slow)

    def test_twoSlowClients(self) -> None:
        """The server goes on when it need not wait for any of them."""
        self.stall(self.slow)
        self.stall(self.fast)
        self.server.receive(packet(1, bytes(MIB + 1)) + packet(2, bytes(MIB + 1)))
        self.assertFalse(self.server.reading)
        self.slow.drain()
        self.assertFalse(self.server.reading)
        self.fast.drain()
        self.assertTrue(self.server.reading)
        self.clock.advance(100)
        self.assertAlive(self.slow, self.fast)

    def test_otherServers(self) -> None:
        """They and their clients do not notice."""
        other = self.world.server(2)
        client = self.world.client(other)
        self.stall(self.slow)
        self.server.say(1, bytes(MIB + 1))
        self.assertTrue(other.reading)
        other.say(1, bytes(3 * MIB))
        self.assertEqual(len(client.take()), 3 * MIB)

    def test_lostWhileBehind(self) -> None:
        """The server need not wait for a client that is gone, and nothing waits for that."""
        self.stall(self.slow)
        self.server.say(1, bytes(MIB + 1))
        self.assertFalse(self.server.reading)
        self.slow.leave()
        self.assertTrue(self.server.reading)
        self.assertEqual(self.server.heard(), [disconnected(1)])
        self.assertEqual(self.world.backlog, 0)
        self.assertCounts(1, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_halfClosing(self) -> None:
        """A client that sends nothing more gets what waits, then it is closed.

        For its server it is gone at once, which need not wait for it.
        """
        for size in (300_000, MIB + 1):
            client = self.world.client(self.server)
            self.server.heard()
            self.stall(client)
            self.server.say(client.address, bytes(size) + b"end")
            client.end()
            self.assertEqual(self.server.heard(), [disconnected(client.address)])
            self.assertTrue(self.server.reading)
            self.assertDelivered(client, bytes(size) + b"end", Outcome.PARTNER_LEFT)

    def assertDelivered(self, client: ClientLeg, data: bytes, outcome: Outcome) -> None:
        """It gets the rest, as it takes it, and then goodbye; till then the rest is counted."""
        self.assertAlive(client)
        taken = client.take()
        for _ in range(3):
            self.clock.advance(STALLED - 5)
            client.drain(0)
            taken += client.take()
            self.assertAlive(client)
            self.assertEqual(self.world.backlog, len(data) - len(taken))
        self.assertLess(len(taken), len(data))
        client.drain()
        self.assertEqual(taken + client.take(), data)
        self.assertOver(client, outcome)
        self.assertEqual(self.world.backlog, 0)

    def test_serverGone(self) -> None:
        """What it sent is delivered before its clients are told goodbye, however it goes."""
        ends: tuple[Callable[[ServerLeg], object], ...] = (
            ServerLeg.leave,
            ServerLeg.end,
            lambda server: server.receive(packet(0, b"x")),
            lambda server: server.say(1, bytes(5 * MIB)),
        )
        for number, end in enumerate(ends):
            server = self.world.server(10 + number)
            slow, lost, fast = (self.world.client(server) for _ in range(3))
            self.stall(slow, server)
            self.stall(lost, server)
            data = bytes(500_000) + b"end"
            server.receive(b"".join(packet(address, data) for address in (1, 2, 3)))
            self.assertEqual(fast.take(), data)
            end(server)
            self.assertOver(fast, Outcome.PARTNER_LEFT)
            self.assertEqual(self.switchboard.servers, 1)
            lost.leave()
            self.assertDelivered(slow, data, Outcome.PARTNER_LEFT)
            self.assertEqual(lost.take(), b"")

    def test_serverGoneWhileHeldUp(self) -> None:
        """Its clients get all that it sent, also those that were behind too far."""
        self.stall(self.slow)
        self.server.say(1, bytes(MIB + 1))
        self.assertFalse(self.server.reading)
        self.clock.advance(4.9)
        self.server.leave()
        self.assertDelivered(self.slow, bytes(MIB + 1), Outcome.PARTNER_LEFT)

    def test_disconnectedByServer(self) -> None:
        """What waits is delivered, then the client is told goodbye; the server is not held up."""
        call = calling("TunnelProxy.DisconnectClient", {"socketAddress": 1})
        self.stall(self.slow)
        self.server.receive(packet(1, bytes(MIB) + b"end") + packet(0, call))
        self.assertEqual(self.server.heard(), [answer("NoError"), disconnected(1)])
        self.assertTrue(self.server.reading)
        self.server.say(1, b"nobody")
        self.slow.receive(b"nobody")
        self.assertEqual(self.server.heard(), [])
        self.assertDelivered(self.slow, bytes(MIB) + b"end", Outcome.DISCONNECTED_BY_SERVER)

    def test_leavingSlowly(self) -> None:
        """Who takes a little once in a minute gets all, however long it takes, and a clean end."""
        data = bytes(range(128)) * (2 * MIB // 128)
        ends: tuple[Callable[[ServerLeg, ClientLeg], object], ...] = (
            lambda server, _client: server.leave(),
            lambda _server, client: client.end(),
        )
        for number, end in enumerate(ends):
            server = self.world.server(10 + number)
            client, _other = (self.world.client(server) for _ in range(2))
            self.stall(client, server)
            server.say(1, data)
            end(server, client)
            taken = b""
            while client.outcome is None:
                self.clock.advance(STALLED - 0.1)
                self.assertAlive(client)
                client.drain(0)
                taken += client.take()
                self.assertEqual(self.world.backlog, len(data) - len(taken))
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(taken, data)
            self.assertEqual(client.late, [])

    def test_notDelivered(self) -> None:
        """Who takes nothing for a minute does not get the rest, and can tell."""
        call = calling("TunnelProxy.DisconnectClient", {"socketAddress": 1})
        other = self.world.server(2)
        third = self.world.client(other)
        self.stall(self.slow)
        self.stall(self.fast)
        self.stall(third, other)
        self.server.receive(packet(1, bytes(300_000)) + packet(2, bytes(300_000)) + packet(0, call))
        other.say(1, bytes(300_000))
        self.clock.advance(30)
        other.leave()
        self.fast.end()
        self.clock.advance(29.9)
        self.assertAlive(self.slow, self.fast, third)
        self.assertEqual(self.world.backlog, 900_000)
        self.clock.advance(0.2)
        for client in (self.slow, self.fast, third):
            self.assertOver(client, Outcome.CLIENT_TOO_SLOW)
            self.assertEqual(client.take(), b"")
        self.assertEqual(self.world.backlog, 0)
        self.assertCounts(1, 0)

    def test_uuidWhileLeaving(self) -> None:
        """As long as the rest is delivered the connection is there, and has its uuid."""
        self.stall(self.slow)
        self.server.say(1, bytes(300_000))
        self.slow.end()
        self.assertCounts(1, 2)
        self.assertRefused(
            lambda: self.world.client(self.server, self.slow.number),
            TunnelProxyError.ALREADY_REGISTERED,
            Outcome.ALREADY_REGISTERED,
        )
        self.slow.drain()
        self.assertCounts(1, 1)
        self.world.client(self.server, self.slow.number)

    def test_serverStopsWhileLeaving(self) -> None:
        """When the client can take nothing more the rest is dropped, and its timer stopped."""
        self.stall(self.slow)
        self.server.say(1, bytes(300_000))
        end = self.slow.partner
        self.slow.end()
        end.partnerLost()
        self.assertEqual(self.world.backlog, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertCounts(1, 1)

    def test_serverStops(self) -> None:
        """So it is for one that is not leaving: nothing is sent to it any more."""
        self.stall(self.slow)
        self.server.say(1, bytes(300_000))
        for client in (self.slow, self.fast):
            client.partner.partnerLost()
        self.assertEqual(self.world.backlog, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.server.say(2, b"x")
        self.assertEqual(self.fast.take(), b"")

    def test_largePacket(self) -> None:
        """It goes out in slices, so that what a slow client does not take waits here."""
        data = bytes(range(256)) * 3000
        self.server.say(2, data)
        self.assertEqual(b"".join(self.fast.sent), data)
        self.assertTrue(all(0 < len(piece) <= SLICE_SIZE for piece in self.fast.sent))
        self.slow.room = 2 * SLICE_SIZE
        self.server.say(1, data)
        written = self.slow.take()
        self.assertLessEqual(len(written), 3 * SLICE_SIZE)
        self.assertEqual(self.world.backlog, len(data) - len(written))
        self.slow.drain(0)
        written += self.slow.take()
        self.assertEqual(self.world.backlog, len(data) - len(written))
        self.slow.drain()
        self.assertEqual(written + self.slow.take(), data)

    def test_largePacketForAFastClient(self) -> None:
        """However large, it waits for nothing."""
        self.server.say(2, bytes(3 * MIB))
        self.assertTrue(self.server.reading)
        self.assertEqual(self.world.backlog, 0)

    def test_order(self) -> None:
        """Small and large packets arrive in the order they were sent, whatever had to wait."""
        sizes = (1, SLICE_SIZE - 1, SLICE_SIZE, SLICE_SIZE + 1, 3 * SLICE_SIZE, 10)
        expected = taken = b""
        for number, size in enumerate(sizes * 5):
            data = bytes([number]) * size
            expected += data
            self.slow.room = 70_000 if number % 3 == 0 else self.slow.room
            self.server.say(1, data)
            if number % 4 == 3:
                self.slow.drain(number * 10_000)
            taken += self.slow.take()
            self.assertTrue(expected.startswith(taken))
        self.assertGreater(self.world.backlog, 0)
        self.slow.drain()
        self.assertEqual(taken + self.slow.take(), expected)

    def test_smallPackets(self) -> None:
        """What a backlog takes of memory is near what it says, be packets ever so small."""
        self.stall(self.slow)
        self.stall(self.fast)
        stream = packet(1, b"ab") * 20_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.server.receive(stream)
        self.clock.advance(0)
        gc.collect()
        held, _peak = tracemalloc.get_traced_memory()
        self.assertEqual(self.world.backlog, 40_000)
        self.assertLess(held, 3 * self.world.backlog)
