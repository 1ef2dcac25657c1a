"""Owns the checks of who is registered with the tunnel proxy, and who may be."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface.verify import verifyObject

from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    ServerRegistration,
    TunnelProxyError,
)
from nymearemoteproxy.tunnelproxy.ends import IClientEnd, IServerEnd, Origin
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard, Terms
from tests.support.switchboards import (
    ServerLeg,
    SwitchboardCase,
    connected,
    uuid,
)

VISITOR = Origin(9, isVisitor=True, isNamed=True)


class RegistrationTests(SwitchboardCase):
    """Who gets a place."""

    def test_interface(self) -> None:
        """It provides what it says, and so do the far ends."""
        self.assertTrue(verifyObject(ISwitchboard, self.switchboard))
        server = self.world.server()
        client = self.world.client(server)
        for leg, interface in ((server, IServerEnd), (client, IClientEnd)):
            self.assertTrue(verifyObject(ILeg, leg.partner))
            self.assertTrue(verifyObject(interface, leg.partner))

    def test_counts(self) -> None:
        """Servers and clients are counted from the registration to the end."""
        first = self.world.server(1)
        self.assertCounts(1, 0)
        clients = [self.world.client(first) for _ in range(3)]
        second = self.world.server(2)
        self.world.client(second)
        self.assertCounts(2, 4)
        clients[1].leave()
        self.assertCounts(2, 3)
        first.leave()
        self.assertCounts(1, 1)
        second.end()
        self.assertCounts(0, 0)

    def test_nothingUnasked(self) -> None:
        """The far end says nothing by itself, neither to a server nor to a client."""
        server = self.world.server()
        self.assertEqual(server.sent, [])
        self.assertEqual(self.world.client(server).sent, [])
        self.assertTrue(server.reading)

    def test_alreadyRegistered(self) -> None:
        """A uuid belongs to one connection, be it a server's or a client's: the older one."""
        server, other = self.world.server(1), self.world.server(2)
        client = self.world.client(server, 3)
        server.heard()
        asks: tuple[Callable[[], object], ...] = (
            lambda: self.world.server(1),
            lambda: self.world.server(3),
            lambda: self.world.client(server, 3),
            lambda: self.world.client(other, 3),
            lambda: self.world.client(server, 1),
            lambda: self.world.client(server, 2),
            lambda: self.world.client(ServerLeg(9), 3),
        )
        for ask in asks:
            self.assertRefused(ask, TunnelProxyError.ALREADY_REGISTERED, Outcome.ALREADY_REGISTERED)
        self.assertAlive(server, other, client)
        self.assertEqual(server.heard(), [])
        client.receive(b"still here")
        self.assertEqual(server.heard(), [(client.address, b"still here")])

    def test_origins(self) -> None:
        """By uuid it is known where a server or a client comes from."""
        server = self.world.server(1)
        client = self.world.client(server, 2)
        for number, leg in ((1, server), (2, client)):
            origin = self.switchboard.origin(uuid(number))
            assert origin is not None
            self.assertIs(origin, leg.partner.origin)
        self.assertIsNone(self.switchboard.origin(uuid(3)))

    def test_endedByUuid(self) -> None:
        """A server is expelled, a client dropped; nothing happens if there is none."""
        server = self.world.server(1)
        gone, other = self.world.client(server, 2), self.world.client(server, 3)
        for number in (1, 4):
            self.switchboard.drop(uuid(number))
        for number in (2, 4):
            self.switchboard.expel(uuid(number), Outcome.ENDED_BY_OPERATOR)
        self.assertAlive(server, gone, other)
        self.switchboard.drop(uuid(2))
        self.assertOver(gone, Outcome.CONNECTION_LOST)
        self.assertAlive(server, other)
        self.switchboard.expel(uuid(1), Outcome.ENDED_BY_OPERATOR)
        self.assertOver(server, Outcome.ENDED_BY_OPERATOR)

    def test_uuidIsFreeAgain(self) -> None:
        """As soon as its connection is lost, or ends; with a server its clients' are."""
        for part in (ServerLeg.leave, ServerLeg.end):
            server = self.world.server(1)
            client = self.world.client(server, 2)
            client.leave()
            client = self.world.client(server, 2)
            client.end()
            self.world.client(server, 2)
            part(server)
            self.world.server(2).leave()
            server = self.world.server(1)
            self.world.client(server, 2)
            part(server)

    def test_serverNotFound(self) -> None:
        """No such server, no longer, or it is a client; nobody is registered for having asked."""
        server = self.world.server(1)
        client = self.world.client(server, 2)
        gone = self.world.server(3)
        gone.leave()
        for number in (2, 3, 4):
            self.assertRefused(
                lambda number=number: self.world.client(ServerLeg(number), 5),
                TunnelProxyError.SERVER_NOT_FOUND,
                Outcome.SERVER_NOT_FOUND,
            )
        self.assertAlive(server, client)
        self.world.client(server, 5)

    def test_allowList(self) -> None:
        """Servers that are not on it are refused; those that are registered already stay."""
        early = self.world.server(1)
        self.world.allow(frozenset({uuid(2)}))
        for number in (1, 3):
            error, outcome = TunnelProxyError.FORBIDDEN_CALL, Outcome.SERVER_NOT_ALLOWED
            if number == 1:
                error, outcome = TunnelProxyError.ALREADY_REGISTERED, Outcome.ALREADY_REGISTERED
            self.assertRefused(lambda number=number: self.world.server(number), error, outcome)
        self.assertAlive(early, self.world.server(2), self.world.client(early))
        early.leave()
        self.assertRefused(
            lambda: self.world.server(1),
            TunnelProxyError.FORBIDDEN_CALL,
            Outcome.SERVER_NOT_ALLOWED,
        )
        self.world.allow(None)
        self.world.server(1)
        self.world.allow(frozenset())
        self.assertRefused(
            lambda: self.world.server(4),
            TunnelProxyError.FORBIDDEN_CALL,
            Outcome.SERVER_NOT_ALLOWED,
        )

    def test_listedUuidIsNoClients(self) -> None:
        """What is on it is for servers: a client could keep them out."""
        server = self.world.server(1)
        self.world.allow(frozenset({uuid(1), uuid(2)}))
        self.assertRefused(
            lambda: self.world.client(server, 2),
            TunnelProxyError.FORBIDDEN_CALL,
            Outcome.UUID_RESERVED,
        )
        self.assertAlive(server, self.world.client(server, 3), self.world.server(2))

    def test_origin(self) -> None:
        """The server is told the host a client comes from."""
        server = self.world.server()
        for host in ("192.0.2.7", "2001:db8::7", ""):
            client = self.world.client(server, origin=Origin(7, host, "192.0.2.0/24"))
            self.assertEqual(server.heard(), [connected(client, host)])


class LimitTests(SwitchboardCase):
    """How many get a place."""

    terms = Terms(serversPerAddress=2, clientsPerAddress=3, clientsPerServer=4)

    def assertTooMany(self, ask: Callable[[], object], outcome: Outcome) -> None:
        """There is no place for another one; it may try again later."""
        self.assertRefused(ask, TunnelProxyError.INTERNAL_SERVER_ERROR, outcome)
        self.assertEqual(outcome.closeCode, 1013)

    def test_serversPerAddress(self) -> None:
        """Who is refused does not count, and who leaves makes room."""
        here, there = Origin(1, "", "here"), Origin(2, "", "there")
        first = self.world.server(1, here)
        self.world.server(2, here)
        for _ in range(2):
            self.assertTooMany(
                lambda: self.world.server(3, here), Outcome.TOO_MANY_SERVERS_FROM_ADDRESS
            )
        self.world.server(3, there)
        self.world.client(first, origin=here)
        first.leave()
        self.world.server(1, here)
        self.assertTooMany(
            lambda: self.world.server(4, here), Outcome.TOO_MANY_SERVERS_FROM_ADDRESS
        )

    def test_clientsPerAddress(self) -> None:
        """They count together for all servers, and apart from servers."""
        here, there = Origin(1, "", "here"), Origin(2, "", "there")
        servers = [self.world.server(number, here) for number in (1, 2)]
        clients = [self.world.client(server, origin=here) for server in (*servers, servers[0])]
        for server in servers:
            self.assertTooMany(
                lambda server=server: self.world.client(server, origin=here),
                Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS,
            )
        self.world.client(servers[0], origin=there)
        clients[1].leave()
        self.world.client(servers[0], origin=here)
        servers[0].leave()
        clients = [self.world.client(servers[1], origin=here) for _ in range(3)]
        self.assertTooMany(
            lambda: self.world.client(servers[1], origin=here),
            Outcome.TOO_MANY_CLIENTS_FROM_ADDRESS,
        )

    def test_clientsPerServer(self) -> None:
        """Each server has its own."""
        servers = [self.world.server(number) for number in (1, 2)]
        clients = [self.world.client(servers[0]) for _ in range(4)]
        self.assertTooMany(
            lambda: self.world.client(servers[0]), Outcome.TOO_MANY_CLIENTS_OF_SERVER
        )
        self.world.client(servers[1])
        clients[2].leave()
        self.world.client(servers[0])
        self.assertTooMany(
            lambda: self.world.client(servers[0]), Outcome.TOO_MANY_CLIENTS_OF_SERVER
        )

    def test_exempt(self) -> None:
        """Where there is no source, no limit per address applies."""
        origin = Origin(1, "127.0.0.1", None)
        for number in range(5):
            server = self.world.server(number, origin)
            for _ in range(4):
                self.world.client(server, origin=origin)
        self.assertCounts(5, 20)

    def test_abandoned(self) -> None:
        """Who has left before it had its place does not count."""
        here = Origin(1, "", "here")
        server = self.world.server(1, here)
        for number in range(10, 20):
            registration = ServerRegistration("", uuid(number))
            self.successResultOf(self.world.register(registration, here)).tunnel.abandon()
            client = ClientRegistration("", uuid(number), server.uuid)
            self.successResultOf(self.world.register(client, here)).tunnel.abandon()
        self.assertCounts(1, 0)
        self.assertEqual(server.heard(), [])


class NoLimitTests(SwitchboardCase):
    """Without limits."""

    def test_none(self) -> None:
        """By default as many come from one address as want to."""
        here = Origin(1, "", "here")
        for number in range(30):
            server = self.world.server(number, here)
            for _ in range(10):
                self.world.client(server, origin=here)
        self.assertCounts(30, 300)


class VisitorLimitTests(SwitchboardCase):
    """How many visitors get a place."""

    terms = Terms(visitorsPerServer=1)

    def test_others(self) -> None:
        """Who comes another way takes none of theirs, and finds one where there is none."""
        server = self.world.server()
        early = self.world.client(server)
        visitor = self.world.client(server, origin=VISITOR)
        self.assertRefused(
            lambda: self.world.client(server, origin=VISITOR),
            TunnelProxyError.INTERNAL_SERVER_ERROR,
            Outcome.TOO_MANY_VISITORS,
        )
        self.assertAlive(server, early, visitor, self.world.client(server))


class NoVisitorLimitTests(SwitchboardCase):
    """Without a limit."""

    terms = Terms(visitorsPerServer=0)

    def test_any(self) -> None:
        server = self.world.server()
        self.assertAlive(*(self.world.client(server, origin=VISITOR) for _ in range(3)))
