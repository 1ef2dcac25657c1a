"""Owns the checks of how registrations end: by silence, by leaving, or by a fault of ours."""

from __future__ import annotations

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    ServerRegistration,
)
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, STALLED
from nymearemoteproxy.tunnelproxy.switchboard import Terms
from tests.support.switchboards import (
    MIB,
    PING,
    FakeLeg,
    ServerLeg,
    SwitchboardCase,
    World,
    disconnected,
    packet,
    uuid,
)


class LivenessTests(SwitchboardCase):
    """A server that is silent for 60 seconds is dead."""

    terms = Terms(clientBacklog=MIB, clientPatience=300.0)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.client = self.world.client(self.server)

    def test_silent(self) -> None:
        """It is closed after 60 seconds, not before, whatever its clients say."""
        for _ in range(599):
            self.clock.advance(0.1)
            self.client.receive(b"x")
        self.assertAlive(self.server, self.client)
        self.clock.advance(0.11)
        self.assertOver(self.server, Outcome.SERVER_SILENT)
        self.assertOver(self.client, Outcome.PARTNER_LEFT)
        self.assertCounts(0, 0)

    def test_anyByte(self) -> None:
        """All that it sends is a sign of life, be it no packet at all."""
        for data in (b"\xc0", b"\x00", b"\x01", b"\xc0\xdb", b"\xc0", PING):
            self.clock.advance(59.9)
            self.server.receive(data)
            self.assertAlive(self.server)
        self.clock.advance(59.9)
        self.assertAlive(self.server)
        self.clock.advance(0.2)
        self.assertOver(self.server, Outcome.SERVER_SILENT)

    def test_fromTheBeginning(self) -> None:
        """The time begins with the tunnel, not with the registration."""
        registration = ServerRegistration("", uuid(9))
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        self.server.leave()
        self.clock.advance(100)
        leg = FakeLeg()
        self.world.legs.append(leg)
        tunnel.attach(leg)
        self.clock.advance(59.9)
        self.assertAlive(leg)
        self.clock.advance(0.2)
        self.assertOver(leg, Outcome.SERVER_SILENT)

    def test_off(self) -> None:
        """With 0 it may be silent for ever."""
        world = World(Terms(serverTimeout=0))
        server = world.server()
        world.clock.advance(10**6)
        self.assertAlive(server)
        world.check(self)

    def holdUp(self) -> None:
        """Let the client be behind so far that its server is not read from."""
        self.client.room = 0
        self.server.say(1, b".")
        self.server.say(1, bytes(2 * MIB))
        self.assertFalse(self.server.reading)

    def test_heldUpForAClient(self) -> None:
        """A server that is not read from is not silent, and then has all the time again."""
        self.clock.advance(50)
        self.holdUp()
        for _ in range(4):
            self.clock.advance(55)
            self.client.drain(0)
            self.assertFalse(self.server.reading)
        self.assertAlive(self.server, self.client)
        self.client.drain()
        self.assertTrue(self.server.reading)
        self.clock.advance(59.9)
        self.assertAlive(self.server)
        self.clock.advance(0.2)
        self.assertOver(self.server, Outcome.SERVER_SILENT)

    def test_heldUpInVain(self) -> None:
        """So it has when the client took nothing all the time, and is given up."""
        self.holdUp()
        self.clock.advance(59.9)
        self.assertAlive(self.server, self.client)
        self.clock.advance(0.2)
        self.assertOver(self.client, Outcome.CLIENT_TOO_SLOW)
        self.assertTrue(self.server.reading)
        self.clock.advance(59.9)
        self.assertAlive(self.server)
        self.clock.advance(0.2)
        self.assertOver(self.server, Outcome.SERVER_SILENT)

    def test_heldUpForABriefTime(self) -> None:
        """So it is when all happens between two looks at it."""
        self.holdUp()
        self.clock.advance(30)
        self.client.drain()
        self.clock.advance(59.9)
        self.assertAlive(self.server)
        self.clock.advance(0.2)
        self.assertOver(self.server, Outcome.SERVER_SILENT)

    def test_doesNotReadItsAnswers(self) -> None:
        """Such a server is held up for its own sake, which is silence."""
        self.server.room = 0
        self.server.receive(PING)
        self.assertFalse(self.server.reading)
        self.clock.advance(59.9)
        self.assertAlive(self.server)
        self.clock.advance(0.2)
        self.assertOver(self.server, Outcome.SERVER_SILENT)
        self.assertOver(self.client, Outcome.PARTNER_LEFT)

    def test_bothAtOnce(self) -> None:
        """A slow client is no excuse for it."""
        self.server.room = 0
        self.client.room = 0
        self.server.receive(packet(1, b".") + packet(1, bytes(MIB + 65_536)) + PING)
        self.assertFalse(self.server.reading)
        self.clock.advance(59.9)
        self.assertAlive(self.server, self.client)
        self.clock.advance(0.2)
        self.assertOver(self.server, Outcome.SERVER_SILENT)


class EndingTests(SwitchboardCase):
    """How tunnels end that never quite began, and that they end only once."""

    def test_abandonedServer(self) -> None:
        """Its uuid is free at once, and a leg that comes too late is sent away."""
        registration = ServerRegistration("", uuid(1))
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        self.assertCounts(1, 0)
        tunnel.abandon()
        self.assertCounts(0, 0)
        self.world.server(1)
        late = FakeLeg()
        tunnel.attach(late)
        self.assertOver(late, Outcome.PARTNER_LEFT)
        self.assertCounts(1, 0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_abandonedServerWithClients(self) -> None:
        """Those that were there already are closed."""
        registration = ServerRegistration("", uuid(1))
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        client = self.world.client(ServerLeg(1))
        tunnel.abandon()
        self.assertOver(client, Outcome.PARTNER_LEFT)
        self.assertCounts(0, 0)

    def test_oneOfManyFails(self) -> None:
        """Its fault keeps no other client from being told, nor the server from leaving."""

        def fail(_outcome: Outcome) -> None:
            raise ZeroDivisionError

        server = self.world.server(1)
        clients = [self.world.client(server) for _ in range(3)]
        clients[1].finish = fail  # type: ignore[method-assign]
        server.leave()
        self.clock.advance(0)
        for client in (clients[0], clients[2]):
            self.assertOver(client, Outcome.PARTNER_LEFT)
        self.assertEqual(self.switchboard.servers, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_faultForOneClient(self) -> None:
        """A fault of ours while one is sent something ends that one; all others go on."""

        def fail(_data: bytes) -> None:
            raise ZeroDivisionError

        server = self.world.server()
        clients = [self.world.client(server) for _ in range(3)]
        for size in (1, 3 * SLICE_SIZE):
            broken = self.world.client(server)
            broken.sendBytes = fail  # type: ignore[method-assign]
            server.heard()
            sent = [packet(each.address, b"." * size) for each in (clients[0], broken, *clients)]
            server.receive(b"".join(sent))
            self.assertOver(broken, Outcome.INTERNAL_ERROR)
            self.assertEqual([len(each.take()) for each in clients], [2 * size, size, size])
            self.assertEqual(server.heard(), [disconnected(broken.address)])
            self.assertAlive(server, *clients)
            self.assertEqual(self.world.backlog, 0)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertCounts(1, 3)

    def test_faultWhileItLeaves(self) -> None:
        """A client that is given up while it is sent something is over, and is not ended twice."""

        def fail() -> None:
            raise ZeroDivisionError

        server = self.world.server()
        client, sibling = self.world.client(server), self.world.client(server)
        client.drain(0)
        server.say(client.address, bytes(SLICE_SIZE + 1))
        self.clock.advance(STALLED / 2)
        client.partnerLost = fail  # type: ignore[method-assign]
        self.patch(self.switchboard._backlog, "_most", SLICE_SIZE)
        server.say(client.address, bytes(SLICE_SIZE))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(client.outcome, Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(server, sibling)
        self.assertCounts(1, 1)

    def test_abandonedClient(self) -> None:
        """The server hears nothing of it, and a leg that comes too late is sent away."""
        server = self.world.server()
        registration = ClientRegistration("", uuid(7), server.uuid)
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        self.assertCounts(1, 1)
        server.say(1, b"nobody is told this address")
        tunnel.abandon()
        self.assertCounts(1, 0)
        late = FakeLeg()
        tunnel.attach(late)
        self.assertOver(late, Outcome.PARTNER_LEFT)
        self.assertEqual(server.heard(), [])

    def test_serverGoneBeforeTheClientIsAttached(self) -> None:
        """The client is sent away as soon as it is there."""
        server = self.world.server()
        registration = ClientRegistration("", uuid(7), server.uuid)
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        server.leave()
        self.assertCounts(0, 0)
        late = FakeLeg()
        tunnel.attach(late)
        self.assertOver(late, Outcome.PARTNER_LEFT)
        tunnel.abandon()

    def test_endsAfterTheEnd(self) -> None:
        """Whatever else happens to a connection that is over changes nothing."""
        server = self.world.server()
        clients = [self.world.client(server) for _ in range(2)]
        server.heard()
        clients[0].end()
        clients[0].end()
        clients[0].leave()
        self.assertEqual(server.heard(), [disconnected(1)])
        self.assertCounts(1, 1)
        server.end()
        server.end()
        server.leave()
        clients[1].end()
        clients[1].leave()
        for leg in (server, *clients):
            leg.tunnel.abandon()
        self.assertCounts(0, 0)
        self.assertEqual(server.heard(), [])
