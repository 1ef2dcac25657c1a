"""Owns the checks of the tunnel proxy in memory: who is registered, and one server's many clients.

Legs only take notes, and time is a fake clock's.
"""

from __future__ import annotations

import gc
import itertools
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from nymearemoteproxy.common import turns
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import NOBODY, ILeg, Tunnel
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    Registration,
    ServerRegistration,
    TunnelProxyError,
    errorFor,
)
from nymearemoteproxy.tunnelproxy import backlog, clientend, serverend
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, STALLED
from nymearemoteproxy.tunnelproxy.ends import IClientEnd, IServerEnd, Origin
from nymearemoteproxy.tunnelproxy.serverend import (
    CLIENTS_A_TURN,
    PACKETS_A_TURN,
    SERVER_BACKLOG,
)
from nymearemoteproxy.tunnelproxy.switchboard import ISwitchboard, Switchboard, Terms
from tests.protocol.test_slip import SPECIAL, cut, referenceDecode, referenceEncode
from tests.support.memory import oneTurn

PROPERTY = settings(max_examples=150, deadline=None, database=None)

HELLO = {"server": "nymea-remoteproxy", "name": "x", "version": "1", "apiVersion": "5"}
ADDRESSES = 65_534
MIB = 1 << 20


def packet(address: int, data: bytes) -> bytes:
    """Return a packet; a large one takes the reference long, unless there is nothing to escape."""
    content = bytes(divmod(address, 256)) + data
    if content.translate(None, SPECIAL) == content:
        return content + b"\xc0"
    return referenceEncode(address, data)


def packets(stream: bytes) -> list[tuple[int, bytes]]:
    """Return the packets of a stream."""
    found: list[tuple[int, bytes]] = []
    for content in stream.split(b"\xc0")[:-1]:
        if b"\xdb" in content:
            found += referenceDecode(content + b"\xc0")
        else:
            found.append((256 * content[0] + content[1], content[2:]))
    return found


def uuid(number: int) -> UUID:
    """Return one of many uuids; no two numbers have the same."""
    return UUID(int=number + 1)


_times = itertools.count()


@implementer(ILeg)
class FakeLeg:
    """A leg as the tunnel sees it, and its client, who reads as much as there is room for.

    Like a real one it blocks as soon as the client does not take something, holds what it is sent
    nevertheless, and says so again with everything that is written meanwhile.

    :ivar room: how many bytes the client takes; None = all.
    :ivar sent: what was written to it and not looked at yet.
    :ivar outcome: what it was told at the end.
    :ivar late: what was written to it behind that.
    :ivar resumed: who was read from again earlier has a lower one.
    """

    def __init__(self) -> None:
        self.resumed = next(_times)
        self.room: int | None = None
        self.sent: list[bytes] = []
        self.late: list[bytes] = []
        self.outcome: Outcome | None = None
        self.reading = True
        self.blocked = False
        self.isGone = False
        self.isAlone = False
        self.partner: ILeg = NOBODY

    # What the tunnel tells

    def enter(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        self.reading = False

    def open(self, partner: ILeg) -> None:
        self.partner = partner
        self.reading = True

    def begin(self) -> None:
        if self.blocked:
            self.partner.pauseReading()

    def sendBytes(self, data: bytes) -> None:
        if self.isGone:
            return
        (self.sent if self.outcome is None else self.late).append(data)
        if self.room is not None:
            self.room = max(-1, self.room - len(data))
            self.blocked = self.blocked or self.room < 0
        if self.blocked:
            self.partner.pauseReading()

    def sendFrames(self, frames: Frames) -> None:
        raise AssertionError("the far end knows no messages")

    def pauseReading(self) -> None:
        self.reading = False

    def resumeReading(self) -> None:
        self.reading = True
        self.resumed = next(_times)

    def finish(self, outcome: Outcome) -> None:
        if self.outcome is None and not self.isGone:
            self.outcome = outcome

    def cutOff(self, outcome: Outcome) -> None:
        self.finish(outcome)

    def partnerLost(self) -> None:
        self.isAlone = True
        self.partner = NOBODY
        self.resumeReading()

    # What the client does

    def receive(self, data: bytes) -> None:
        """The client sends."""
        assert self.reading, "nobody reads that"
        self.partner.sendBytes(data)

    def receiveMessages(self, *payloads: bytes) -> None:
        """A WebSocket client sends."""
        assert self.reading, "nobody reads that"
        self.partner.sendFrames([part for payload in payloads for part in (b"\x82", payload)])

    def drain(self, room: int | None = None) -> None:
        """The client takes all that was written, and then as much as there is room for."""
        self.room = room
        self.blocked = False
        self.partner.resumeReading()

    def take(self) -> bytes:
        """Return what was written to it, and forget it."""
        data = b"".join(self.sent)
        self.sent.clear()
        return data

    def end(self) -> None:
        """The client sends nothing more."""
        self.tunnel.ended(self)

    def leave(self) -> None:
        """The connection is lost."""
        if not self.isGone:
            self.isGone = True
            self.tunnel.lost(self)
            self.partner = NOBODY


Heard = dict[str, Any] | tuple[int, bytes]


class ServerLeg(FakeLeg):
    """The leg of a registered server."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.uuid = uuid(number)

    def heard(self) -> list[Heard]:
        """Return what it was sent: messages of the proxy without id, and (address, data)."""
        heard: list[Heard] = []
        for address, data in packets(self.take()):
            if address:
                heard.append((address, data))
                continue
            assert data.endswith(b"}\n"), data
            for line in data.splitlines():
                message = json.loads(line)
                del message["id"]
                heard.append(message)
        return heard

    def say(self, address: int, data: bytes) -> None:
        """Send a packet."""
        self.receive(packet(address, data))

    def call(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Call the proxy."""
        self.say(0, calling(method, params))


class ClientLeg(FakeLeg):
    """The leg of a client.

    :ivar address: its address, as the server is told.
    """

    address: int

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def calling(method: str, params: dict[str, Any] | None = None) -> bytes:
    """Return the bytes of one call."""
    return json.dumps({"id": 5, "method": method, "params": params or {}}).encode() + b"\n"


PING = packet(0, calling("TunnelProxy.Ping", {"timestamp": 7}))
PONG: Heard = {"status": "success", "params": {"timestamp": 7}}


def answer(error: str) -> Heard:
    """Return the answer to DisconnectClient."""
    return {"status": "success", "params": {"tunnelProxyError": "TunnelProxyError" + error}}


def connected(client: ClientLeg, host: str = "") -> Heard:
    """Return what the server is told of a new client."""
    return {
        "notification": "TunnelProxy.ClientConnected",
        "params": {
            "clientName": f"client {client.number}",
            "clientUuid": f"{{{uuid(client.number)}}}",
            "clientPeerAddress": host,
            "socketAddress": client.address,
        },
    }


def disconnected(address: int) -> Heard:
    """Return what the server is told of a client that is gone."""
    return {
        "notification": "TunnelProxy.ClientDisconnected",
        "params": {"socketAddress": address},
    }


class World:
    """A tunnel proxy on a fake clock, its servers and clients."""

    def __init__(self, terms: Terms) -> None:
        self.clock = Clock()
        self.switchboard = Switchboard(self.clock, HELLO, terms, Turns(self.clock))
        self.legs: list[FakeLeg] = []
        self._numbers = itertools.count(1000)

    def allow(self, servers: Collection[UUID] | None) -> None:
        """Let only these register from now on; None = any."""
        self.switchboard.change(HELLO, self.switchboard.terms, servers)

    def register(self, registration: Registration, origin: Origin | None = None) -> Deferred[Place]:
        """Ask for a place."""
        return self.switchboard.register(registration, origin or Origin(1))

    def attach(self, asked: Deferred[Place], leg: FakeLeg) -> None:
        """Attach a leg to the tunnel that was asked for; its own errors are raised."""
        places: list[Place] = []
        asked.addCallback(places.append)
        failures: list[Any] = []
        asked.addErrback(failures.append)
        for failure in failures:
            failure.raiseException()
        (place,) = places
        self.legs.append(leg)
        place.tunnel.attach(leg)

    def server(self, number: int = 1, origin: Origin | None = None) -> ServerLeg:
        """Let a server register."""
        leg = ServerLeg(number)
        self.attach(self.register(ServerRegistration(f"server {number}", leg.uuid), origin), leg)
        return leg

    def client(
        self, server: ServerLeg, number: int | None = None, origin: Origin | None = None
    ) -> ClientLeg:
        """Let a client of a server register; where it is not said who, it is a new one."""
        leg = ClientLeg(next(self._numbers) if number is None else number)
        registration = ClientRegistration(f"client {leg.number}", uuid(leg.number), server.uuid)
        self.attach(self.register(registration, origin), leg)
        end: Any = leg.partner
        leg.address = end.address
        return leg

    @property
    def backlog(self) -> int:
        """How many bytes wait for slow clients."""
        return self.switchboard._backlog.total

    @property
    def late(self) -> int:
        """How many clients are behind too far."""
        return len(self.switchboard._backlog.late)

    def check(self, case: SynchronousTestCase) -> None:
        """When all have left nothing is left of them; nobody was sent anything after goodbye."""
        for leg in self.legs:
            leg.leave()
            case.assertEqual(leg.late, [])
        self.clock.advance(0)  # what had to wait for its turn
        switchboard = self.switchboard
        case.assertEqual((switchboard.servers, switchboard.clients), (0, 0))
        case.assertEqual(switchboard._serversFrom, {})
        case.assertEqual(switchboard._clientsFrom, {})
        case.assertEqual((self.backlog, self.late), (0, 0))
        case.assertEqual(self.clock.getDelayedCalls(), [])


class SwitchboardCase(SynchronousTestCase):
    """A tunnel proxy that has nothing left when the test is over."""

    terms = Terms()

    def setUp(self) -> None:
        self.world = World(self.terms)
        self.clock, self.switchboard = self.world.clock, self.world.switchboard

    def tearDown(self) -> None:
        self.world.check(self)

    def assertCounts(self, servers: int, clients: int) -> None:
        """So many are registered."""
        self.assertEqual((self.switchboard.servers, self.switchboard.clients), (servers, clients))

    def assertRefused(
        self,
        ask: Callable[[], object],
        error: TunnelProxyError,
        outcome: Outcome,
    ) -> None:
        """There is no place; whoever has one keeps it."""
        before = (self.switchboard.servers, self.switchboard.clients)
        refusal = self.assertRaises(PlaceRefused, ask)
        self.assertIs(errorFor(refusal.outcome), error)
        self.assertIs(refusal.outcome, outcome)
        self.assertCounts(*before)

    def assertAlive(self, *legs: FakeLeg) -> None:
        """They were not told goodbye."""
        for leg in legs:
            self.assertIsNone(leg.outcome)
            self.assertFalse(leg.isAlone)

    def assertOver(self, leg: FakeLeg, outcome: Outcome) -> None:
        """It was told goodbye, is read from to the end, and nobody hears what it still says."""
        self.assertIs(leg.outcome, outcome)
        self.assertTrue(leg.isAlone)
        self.assertTrue(leg.reading)

    def fakeLog(self) -> list[str]:
        """Return the texts of what is logged from now on."""
        texts: list[str] = []

        def note(event: dict[str, Any]) -> None:
            if event.get("log_namespace", "").startswith("nymearemoteproxy"):
                texts.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        return texts


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


class AddressTests(SwitchboardCase):
    """Which address a client gets, and what its server is told of it."""

    def test_first(self) -> None:
        """They begin with 1, for each server anew; all that is asked for is told."""
        for number in (1, 2):
            server = self.world.server(number)
            clients = [self.world.client(server) for _ in range(3)]
            self.assertEqual([client.address for client in clients], [1, 2, 3])
            self.assertEqual(server.heard(), [connected(client) for client in clients])

    def test_beforePayload(self) -> None:
        """The server knows a client before anything of it arrives."""
        server = self.world.server()
        client = self.world.client(server)
        client.receive(b"hello")
        self.assertEqual(server.heard(), [connected(client), (1, b"hello")])

    def test_unusedFirst(self) -> None:
        """The address of a client that is gone is not given while others were never used."""
        server = self.world.server()
        for address in range(1, 50):
            client = self.world.client(server)
            self.assertEqual(client.address, address)
            self.assertEqual(server.heard(), [connected(client)])
            client.leave()
            self.assertEqual(server.heard(), [disconnected(address)])

    def test_all(self) -> None:
        """65,534 clients, each with an address of its own: never 0, never FFFF, no other one.

        Then there is no place, until one leaves: its address is given again, after the server was
        told, and the one that was unused for the longest time goes first.
        """
        server, other = self.world.server(1), self.world.server(2)
        clients: dict[int, ClientLeg] = {}
        for _ in range(ADDRESSES):
            client = self.world.client(server)
            clients[client.address] = client
        self.assertEqual(set(clients), set(range(1, 0xFFFF)))
        announced = server.take()
        self.assertEqual(announced.count(b"TunnelProxy.ClientConnected"), ADDRESSES)
        for _ in range(2):
            self.assertRefused(
                lambda: self.world.client(server, 5),
                TunnelProxyError.INTERNAL_SERVER_ERROR,
                Outcome.TOO_MANY_CLIENTS_OF_SERVER,
            )
        self.assertEqual(server.take(), b"")
        self.assertEqual(self.world.client(other).address, 1)
        leaving = (4711, 1, 0xFFFE, 0xC0DB)
        for address in leaving:
            clients[address].leave()
        self.assertEqual(server.heard(), [disconnected(address) for address in leaving])
        for address in leaving[:-1]:
            client = self.world.client(server)
            self.assertEqual(client.address, address)
            self.assertEqual(server.heard(), [connected(client)])
            client.receive(b"new")
            server.say(address, b"welcome")
            self.assertEqual(client.take(), b"welcome")
            self.assertEqual(server.heard(), [(address, b"new")])
        client.leave()
        self.assertEqual([self.world.client(server).address for _ in range(2)], [0xC0DB, 0xFFFE])
        self.assertRaises(PlaceRefused, self.world.client, server)
        for client in clients.values():
            self.assertEqual(client.sent, [])

    def test_unannounced(self) -> None:
        """Of a client that left before its tunnel was there the server hears nothing."""
        server = self.world.server()
        registration = ClientRegistration("", uuid(7), server.uuid)
        tunnel = self.successResultOf(self.world.register(registration)).tunnel
        tunnel.abandon()
        self.assertEqual(server.heard(), [])
        client = self.world.client(server, 7)
        self.assertEqual(server.heard(), [connected(client)])


class RelayTests(SwitchboardCase):
    """What passes between a server and its clients."""

    terms = Terms(packetSize=100)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.clients = [self.world.client(self.server) for _ in range(3)]
        self.server.heard()

    def test_toServer(self) -> None:
        """Each read is a packet with the client's address; what has a meaning is escaped."""
        first, second, _ = self.clients
        first.receive(b"\xc0\xdb\xdc\xdd")
        second.receive(b"two")
        first.receive(bytes(range(256)))
        self.assertEqual(
            self.server.heard(), [(1, b"\xc0\xdb\xdc\xdd"), (2, b"two"), (1, bytes(range(256)))]
        )

    def test_toClients(self) -> None:
        """Each gets its own, without any trace of SLIP."""
        first, second, third = self.clients
        self.server.say(2, b"\xc0\xdb\xdc\xdd")
        self.server.receive(packet(1, b"on") + packet(3, b"3"))
        self.server.receive(packet(1, b"e"))
        self.assertEqual(first.take(), b"one")
        self.assertEqual(second.take(), b"\xc0\xdb\xdc\xdd")
        self.assertEqual(third.take(), b"3")
        self.assertEqual(self.server.sent, [])

    def test_messages(self) -> None:
        """Packets need not align with WebSocket messages; those of a client are only its bytes."""
        stream = packet(1, b"one") + packet(2, b"two")
        self.server.receiveMessages(stream[:4], b"", stream[4:8])
        self.server.receiveMessages(stream[8:])
        self.assertEqual(self.clients[0].take(), b"one")
        self.assertEqual(self.clients[1].take(), b"two")
        self.clients[0].receiveMessages(b"a", b"", b"b")
        self.clients[0].receiveMessages(b"c")
        received = self.server.heard()
        self.assertEqual([(1, b"ab"), (1, b"c")], received)

    def test_nothing(self) -> None:
        """A client that sends nothing, in a message, sends no packet."""
        self.clients[0].receive(b"")
        self.clients[0].receiveMessages(b"")
        self.assertEqual(self.server.sent, [])

    def test_packetWithoutData(self) -> None:
        """It brings its client nothing, not even an empty message, blocked or not."""
        self.server.say(1, b"")
        self.assertEqual(self.clients[0].sent, [])
        self.clients[0].room = 0
        self.server.say(1, b"x")
        self.server.say(1, b"")
        self.assertEqual(self.clients[0].sent, [b"x"])

    def test_together(self) -> None:
        """What one read brings for a client goes out at once, in a hundred packets or in one."""
        self.server.receive(packet(1, b"ab") * 100 + packet(1, b"c"))
        self.assertEqual(self.clients[0].sent, [b"ab" * 100 + b"c"])
        self.server.receive(packet(1, b"d"))
        self.assertEqual(len(self.clients[0].sent), 2)

    def test_alternating(self) -> None:
        """So it does when there are others' packets, empty ones, and some for nobody between."""
        log = self.fakeLog()
        parts = ((1, b"a"), (4, b"nobody"), (2, b"b"), (1, b""), (3, b""), (1, b"c"))
        self.server.receive(b"".join(packet(*each) for each in parts) * 20)
        self.assertEqual([client.sent for client in self.clients], [[b"ac" * 20], [b"b" * 20], []])
        self.server.leave()
        self.assertIn("20 were for clients", log[0])

    def test_callsBetween(self) -> None:
        """Whole calls are carried out after what came before them, and before what follows."""
        call = calling("TunnelProxy.DisconnectClient", {"socketAddress": 2})
        parts = (
            *((1, b"a"), (2, b"b"), (1, b"c"), (0, calling("RemoteProxy.Hello"))),
            *((2, b"d"), (1, b"e"), (0, call[:20]), (2, b"f"), (0, call[20:])),
            *((2, b"too late"), (1, b"g"), (1, b"h")),
        )
        self.server.receive(b"".join(packet(*each) for each in parts))
        self.assertEqual(self.clients[0].sent, [b"ac", b"e", b"gh"])
        self.assertEqual(self.clients[1].sent, [b"b", b"df"])
        self.assertEqual(self.clients[1].late, [])
        self.assertOver(self.clients[1], Outcome.DISCONNECTED_BY_SERVER)
        hello, done, gone = self.server.heard()
        self.assertEqual((done, gone), (answer("NoError"), disconnected(2)))

    @PROPERTY
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=30)), max_size=8),
        st.lists(st.integers(0, 10_000), max_size=8),
    )
    def test_anySplit(self, sent: list[tuple[int, bytes]], places: list[int]) -> None:
        """However the server's stream is cut, every client gets its bytes; calls are answered."""
        world = World(Terms(serverTimeout=0))
        server = world.server()
        clients = {client.address: client for client in (world.client(server) for _ in range(3))}
        server.heard()
        stream = b"".join(packet(*each) if each[0] else PING for each in sent)
        for chunk in cut(stream, places):
            server.receive(chunk)
            world.clock.advance(0)
        for address, client in clients.items():
            expected = b"".join(data for at, data in sent if at == address)
            self.assertEqual(client.take(), expected)
        self.assertEqual(server.heard(), [PONG for at, _data in sent if not at])
        world.check(self)

    def test_unknownAddresses(self) -> None:
        """Packets for nobody are dropped, and disturb no other."""
        log = self.fakeLog()
        self.clients[1].leave()
        for address in (2, 4, 0x1000, 0xFFFE, 0xFFFF):
            self.server.receive(packet(address, b"x") + packet(1, b"y"))
        self.assertEqual(self.clients[0].take(), b"yyyyy")
        self.assertEqual(self.clients[1].sent + self.clients[2].sent, [])
        self.assertEqual(self.server.heard(), [disconnected(2)])
        self.assertAlive(self.server)
        self.assertEqual(log, [])
        self.server.leave()
        (text,) = log
        self.assertIn("0 packets were invalid, 5 were for clients", text)

    def test_invalidPackets(self) -> None:
        """They are dropped and counted; the connection, and the next packet, are kept."""
        log = self.fakeLog()
        for invalid in (b"\x00\x01\xdb\xc0", b"\x00\xc0", b"\xc0", b"\x00\x01\xdbx\xc0"):
            self.server.receive(invalid + packet(1, b"y"))
        self.assertEqual(self.clients[0].take(), b"yyyy")
        self.assertAlive(self.server, *self.clients)
        self.server.end()
        (text,) = log
        self.assertIn("3 packets were invalid, 0 were for clients", text)

    def test_noFaults(self) -> None:
        """A server that makes none is not mentioned."""
        log = self.fakeLog()
        self.server.say(1, b"x")
        self.server.leave()
        self.assertEqual(log, [])

    def test_packetTooLarge(self) -> None:
        """The server is closed for it, and its clients with it, whether it is finished or not."""
        fits = bytes(98)
        for ending in (b"\x00\xc0", b"\x00"):
            server = self.world.server(7)
            client = self.world.client(server)
            server.say(1, fits)
            self.assertEqual(client.take(), fits)
            server.receive(packet(1, fits)[:-1])
            self.assertAlive(server, client)
            server.receive(ending)
            self.assertOver(server, Outcome.PACKET_TOO_LARGE)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"")
        self.assertCounts(1, 3)
        self.assertAlive(self.server, *self.clients)

    def test_lateLineEnd(self) -> None:
        """The line end of the request may come behind the answer, and belongs to no packet."""
        for number, lineEnd in ((7, b"\n"), (8, b"\r\n")):
            for chunks in ([lineEnd + PING], [lineEnd, PING]):
                server = self.world.server(number)
                for chunk in chunks:
                    server.receive(chunk)
                self.assertEqual(server.heard(), [PONG])
                server.leave()

    def test_onlyOneLineEnd(self) -> None:
        """Later they are addresses like others."""
        log = self.fakeLog()
        self.server.receive(PING)
        self.server.receive(b"\n" + PING)
        self.server.receive(b"\r\n" + PING)
        self.assertEqual(self.server.heard(), [PONG])
        self.server.leave()
        self.assertIn("2 were for clients", log[0])

    def test_addressLikeALineEnd(self) -> None:
        """Where a client has such an address, its first packet reaches it."""
        for number, address in ((7, 0x0A00), (8, 0x0AFF), (9, 0x0D0A)):
            server = self.world.server(number)
            for _ in range(address):
                client = self.world.client(server)
            self.assertEqual(client.address, address)
            server.say(address, b"first")
            self.assertEqual(client.take(), b"first")
            server.leave()


class CallTests(SwitchboardCase):
    """What a registered server calls."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.clients = [self.world.client(self.server) for _ in range(3)]
        self.server.heard()

    def disconnect(self, address: int) -> None:
        """Call DisconnectClient."""
        self.server.call("TunnelProxy.DisconnectClient", {"socketAddress": address})

    def test_questions(self) -> None:
        """Hello and Ping are answered at address 0, in order."""
        self.server.call("RemoteProxy.Hello")
        self.server.receive(PING)
        self.assertEqual(self.server.heard(), [{"status": "success", "params": HELLO}, PONG])

    def test_manyPackets(self) -> None:
        """A call may be in several packets, or several in one, with others' packets between."""
        call = calling("TunnelProxy.Ping", {"timestamp": 7})
        for octet in call:
            self.server.say(0, bytes([octet]))
            self.server.say(1, bytes([octet]))
        self.server.say(0, call * 3)
        self.assertEqual(self.server.heard(), [PONG] * 4)
        self.assertEqual(self.clients[0].take(), call)

    def test_disconnectClient(self) -> None:
        """The client is closed, and gone for its server as any other that is gone."""
        self.server.say(2, b"last words")
        self.disconnect(2)
        client = self.clients[1]
        self.assertOver(client, Outcome.DISCONNECTED_BY_SERVER)
        self.assertEqual(client.take(), b"last words")
        self.assertEqual(self.server.heard(), [answer("NoError"), disconnected(2)])
        self.assertCounts(1, 2)
        client.receive(b"too late")
        client.leave()
        self.assertEqual(self.server.heard(), [])
        self.assertAlive(self.server, self.clients[0], self.clients[2])

    def test_disconnectNobody(self) -> None:
        """An address nobody has is told; the connection is kept."""
        self.clients[2].leave()
        self.server.heard()
        for address in (0, 3, 4, 0xFFFE, 0xFFFF, 0x10001, 2**70):
            self.disconnect(address)
            self.assertEqual(self.server.heard(), [answer("UnknownSocketAddress")], address)
        self.assertAlive(self.server, *self.clients[:2])

    def test_disconnectTwice(self) -> None:
        """The second time it is unknown; what follows in the same read reaches nobody."""
        call = calling("TunnelProxy.DisconnectClient", {"socketAddress": 1})
        twice = (packet(0, call) + packet(1, b"x")) * 2
        self.server.receive(twice + packet(2, b"y"))
        self.assertEqual(
            self.server.heard(),
            [answer("NoError"), disconnected(1), answer("UnknownSocketAddress")],
        )
        self.assertEqual(self.clients[0].take(), b"")
        self.assertEqual(self.clients[1].take(), b"y")

    def test_errors(self) -> None:
        """They are answered, and the end for the server and its clients; nothing follows."""
        register = {"serverName": "", "serverUuid": str(uuid(9))}
        cases: tuple[tuple[bytes, Outcome, dict[str, Any]], ...] = (
            (b"x", Outcome.INVALID_JSON, {"status": "error"}),
            (calling("No.Such"), Outcome.INVALID_REQUEST, {"status": "error"}),
            (b"{" * 10_241, Outcome.MESSAGE_TOO_LARGE, {"status": "error"}),
            (
                calling("Authentication.Authenticate", {"token": "t"}),
                Outcome.FORBIDDEN_CALL,
                {"status": "error"},
            ),
            (
                calling("TunnelProxy.RegisterServer", register),
                Outcome.ALREADY_REGISTERED,
                {
                    "status": "success",
                    "params": {
                        "tunnelProxyError": "TunnelProxyErrorAlreadyRegistered",
                        "slipEnabled": False,
                    },
                },
            ),
        )
        for data, outcome, expected in cases:
            server = self.world.server(5)
            client = self.world.client(server)
            server.heard()
            server.receive(PING + packet(0, data) + PING + packet(1, b"x") + PING)
            pong, error = server.heard()
            assert isinstance(error, dict)
            error.pop("error", None)
            self.assertEqual((pong, error), (PONG, expected))
            self.assertOver(server, outcome)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"")
            self.assertCounts(1, 3)
            server.receive(PING)
            self.assertEqual(server.heard(), [])
        self.assertAlive(self.server, *self.clients)

    def test_errorsBeforeTheEnd(self) -> None:
        """What can become no call is one at once, also when no brace is ever closed."""
        cases: tuple[tuple[bytes, int, Outcome], ...] = (
            (b"x", 1, Outcome.INVALID_JSON),
            (b"{" * 10_241, 1, Outcome.MESSAGE_TOO_LARGE),
            (b"{" * 1000, 11, Outcome.MESSAGE_TOO_LARGE),
        )
        for data, times, outcome in cases:
            server = self.world.server(5)
            client = self.world.client(server)
            server.heard()
            for _ in range(times):
                self.assertAlive(server)
                server.receive(packet(1, b".") + packet(0, data))
            self.assertOver(server, outcome)
            self.assertOver(client, Outcome.PARTNER_LEFT)
            self.assertEqual(client.take(), b"." * times)
            self.assertEqual(len(server.heard()), 1)


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
        data = bytes(range(256)) * (2 * MIB // 256)
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
            lambda server: server.receive(bytes(5 * MIB)),
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
        data = bytes(range(256)) * (2 * MIB // 256)
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
        stream = packet(1, b"ab") * 100_000
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.server.receive(stream)
        self.clock.advance(0)
        gc.collect()
        held, _peak = tracemalloc.get_traced_memory()
        self.assertEqual(self.world.backlog, 200_000)
        self.assertLess(held, 3 * self.world.backlog)


class TotalBacklogTests(SwitchboardCase):
    """All slow clients together."""

    terms = Terms(clientBacklog=MIB, totalBacklog=3 * MIB // 2, clientPatience=5.0, serverTimeout=0)

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
        """Beyond it whoever gets more is treated as if it were behind too far by itself."""
        for place in range(3):
            self.stall(place)
        self.send(0, MIB)
        self.send(1, MIB // 2)
        self.assertReading(True, True, True)
        self.send(2, 1)
        self.assertReading(True, True, False)
        self.clients[2].drain()
        self.assertReading(True, True, True)
        self.send(2, 100_000)
        self.assertEqual(len(self.clients[2].take()), 100_002)
        self.send(1, 1)
        self.assertReading(True, False, True)
        self.clock.advance(4.9)
        self.assertAlive(*self.clients)
        self.clock.advance(0.2)
        self.assertOver(self.clients[1], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(self.clients[0], self.clients[2], *self.servers)
        self.assertEqual(self.world.backlog, MIB)
        self.assertReading(True, True, True)

    def test_whoStandsStillGoesFirst(self) -> None:
        """Beyond the total those are given up that take nothing, not who just got something."""
        self.stall(0)
        self.stall(1)
        self.send(0, MIB // 2)
        self.send(1, MIB)
        self.clock.advance(4.9)
        self.clients[1].drain(0)
        self.clock.advance(0.2)
        self.stall(2)
        self.send(2, MIB // 2)
        self.assertOver(self.clients[0], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(self.clients[1], self.clients[2], *self.servers)
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
        """Let the last client be held to the total, and then the one before it even more."""
        self.stall(2)
        self.clock.advance(1)
        self.stall(0)
        self.stall(1)
        self.send(0, MIB)
        self.send(1, MIB // 2)
        self.clock.advance(3)
        self.send(1, 1)
        self.send(2, 10)
        self.assertReading(True, False, False)

    def test_stillBeyondTheTotal(self) -> None:
        """Taking some of it is not enough while too much waits for all together."""
        self.stall(0)
        self.stall(1)
        self.send(0, MIB)
        self.send(1, 3 * MIB // 4)
        self.stall(2)
        self.send(2, 200_000)
        self.assertReading(True, False, False)
        self.clients[2].drain(0)
        self.assertGreater(self.world.backlog, 7 * MIB // 4)
        self.assertReading(True, False, False)
        self.clients[1].drain()
        self.clients[2].drain(0)
        self.assertGreater(self.world.backlog, MIB)
        self.assertReading(True, True, True)

    def test_nothingWaits(self) -> None:
        """A client that has taken all is not too slow, whatever waits for others."""
        self.behindForTheTotal()
        self.clients[2].drain()
        self.assertEqual(len(self.clients[2].take()), 11)
        self.assertReading(True, False, True)
        self.clock.advance(1.5)
        self.assertAlive(self.clients[2])

    def test_othersCatchUp(self) -> None:
        """Who was behind too far only for the total is no longer when the others take theirs."""
        self.behindForTheTotal()
        self.clients[0].drain()
        self.assertEqual(self.world.backlog, MIB // 2 + 11)
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
        for place in order:
            self.send(place, 1)
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

    def test_manyAtOnce(self) -> None:
        """All who were behind for the total go on, but not who is behind too far by itself."""
        for place in range(3):
            self.stall(place)
        extra = [self.world.server(number) for number in range(10, 13)]
        clients = [self.world.client(server) for server in extra]
        for server, client in zip(extra, clients, strict=True):
            client.room = 0
            server.say(1, b".")
        self.send(0, MIB)
        self.send(1, MIB // 2)
        self.send(2, MIB + 1)
        for server in extra:
            server.say(1, b"x")
        self.assertReading(True, True, False)
        self.assertFalse(any(server.reading for server in extra))
        self.clients[0].leave()
        self.assertReading(True, True, False)
        self.assertFalse(any(server.reading for server in extra), "still beyond the total")
        self.clients[1].leave()
        self.assertReading(True, True, False)
        self.assertTrue(all(server.reading for server in extra))
        self.clock.advance(5.1)
        self.assertOver(self.clients[2], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(*clients)

    def test_leavingClients(self) -> None:
        """What waits for those that are leaving counts as long as it waits."""
        self.stall(0)
        self.send(0, MIB)
        self.stall(1)
        self.stall(2)
        self.servers[0].leave()
        self.send(1, MIB // 2 + 1)
        self.assertFalse(self.servers[1].reading)
        self.clock.advance(4)
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

    def test_clientsNeedMore(self) -> None:
        """As long as it is clients that take up the most, no server has to go for its packet."""
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.servers[0].say(1, bytes(MIB))
        self.begin(1, MIB)
        self.assertGone()
        self.begin(2, 2)
        self.assertGone(1)

    def test_clientsAreSlow(self) -> None:
        """Then those that take nothing go, as they do without any packets."""
        self.clients[0].room = 0
        self.servers[0].say(1, b".")
        self.servers[0].say(1, bytes(3 * MIB // 2))
        self.clock.advance(5)
        self.begin(1, 3 * MIB // 4)
        self.assertOver(self.clients[0], Outcome.CLIENT_TOO_SLOW)
        self.assertAlive(*self.servers)
        self.assertEqual(self.world.backlog, 3 * MIB // 4)

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


class SlowServerTests(SwitchboardCase):
    """A server that does not read as fast as its clients send."""

    terms = Terms(serverTimeout=0, clientBacklog=MIB)

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.clients = [self.world.client(self.server) for _ in range(3)]
        self.server.heard()

    def assertReading(self, *expected: bool) -> None:
        """These clients are read from, the others not."""
        self.assertEqual(tuple(client.reading for client in self.clients), expected)

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
        pieces = Counter(address for address, _ in packets(self.server.take()))
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


class TurnTests(SwitchboardCase):
    """One read may hold thousands of packets and calls; here each turn is for one piece of work."""

    terms = Terms(serverTimeout=0)

    def setUp(self) -> None:
        super().setUp()
        self.patch(turns, "TURN", 0)
        self.servers = [self.world.server(number) for number in range(2)]
        self.clients = [self.world.client(server) for server in self.servers]
        for server in self.servers:
            server.heard()

    def turn(self, times: int = 1) -> None:
        """Let so many turns pass."""
        for _ in range(times):
            oneTurn(self.clock)

    def test_callsInOnePacketEach(self) -> None:
        """It makes no difference in how many packets calls are."""
        server = self.servers[0]
        server.receive(PING * (3 * CALLS_A_TURN))
        for _ in range(3):
            self.assertEqual(server.heard(), [PONG] * CALLS_A_TURN)
            self.assertFalse(server.reading)
            self.turn()
        self.assertTrue(server.reading)

    def test_fault(self) -> None:
        """A fault of ours in a later turn costs this server's connection, and nobody else."""
        first, second = self.servers
        first.receive(PING * (2 * CALLS_A_TURN))
        end: Any = first.partner
        end._dialogue = None
        self.turn(3)
        self.assertOver(self.clients[0], Outcome.PARTNER_LEFT)
        self.assertIs(first.outcome, Outcome.INTERNAL_ERROR)
        self.assertAlive(second, self.clients[1])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_othersFirst(self) -> None:
        """Two servers that flood take turns, and a third one is answered at once."""
        for server in self.servers:
            server.receive(PING * (9 * CALLS_A_TURN))
            server.heard()
        third = self.world.server(3)
        for _ in range(3):
            self.turn(2)
            third.receive(PING)
            self.assertEqual(third.heard(), [PONG])
            for server in self.servers:
                self.assertEqual(server.heard(), [PONG] * CALLS_A_TURN)

    def test_packets(self) -> None:
        """Packets are delivered in turns, in order; meanwhile nothing more is read."""
        server, client = self.servers[0], self.clients[0]
        server.receive(b"".join(packet(1, b"%d," % number) for number in range(1000)))
        due = b"".join(b"%d," % number for number in range(1000))
        atOnce = due.find(b"%d," % PACKETS_A_TURN)
        self.assertEqual(client.take(), due[:atOnce])
        self.assertFalse(server.reading)
        self.turn(20)
        self.assertEqual(client.take(), due[atOnce:])
        self.assertTrue(server.reading)

    def test_emptyPackets(self) -> None:
        """Empty ones count like others."""
        server = self.servers[0]
        server.receive(b"\xc0" * (2 * PACKETS_A_TURN))
        self.assertFalse(server.reading)
        self.turn(3)
        self.assertTrue(server.reading)

    def test_manyClients(self) -> None:
        """Nor can one read make many clients work in one turn."""
        server = self.servers[0]
        clients = [self.world.client(server) for _ in range(2 * PACKETS_A_TURN)]
        server.receive(b"".join(packet(client.address, b"x") for client in clients))
        self.assertEqual(sum(client.sent == [b"x"] for client in clients), PACKETS_A_TURN)
        self.turn(3)
        self.assertEqual(sum(client.sent == [b"x"] for client in clients), len(clients))

    def test_packetsBehindUnreadAnswers(self) -> None:
        """What is for clients is delivered although the server does not take its answers."""
        server, client = self.servers[0], self.clients[0]
        server.room = 0
        server.receive(PING * 3 + packet(1, b"x") * (3 * PACKETS_A_TURN))
        self.turn(9)
        self.assertEqual(len(client.take()), 3 * PACKETS_A_TURN)
        self.assertFalse(server.reading)
        server.drain()
        self.assertEqual(server.heard(), [PONG] * 3)
        self.assertTrue(server.reading)

    def test_lastWords(self) -> None:
        """A server that is gone has delivered what it said before, unread answers or not."""
        for room, server, client in zip((None, 0), self.servers, self.clients, strict=True):
            server.room = room
            server.receive(PING * 2 + packet(1, b"x") * (3 * PACKETS_A_TURN))
            server.leave()
            self.assertRaises(PlaceRefused, self.world.client, server)
            self.assertIsNone(client.outcome)
            client.receive(b"nobody hears that")
            self.turn(9)
            self.assertEqual(len(client.take()), 3 * PACKETS_A_TURN)
            self.assertIs(client.outcome, Outcome.PARTNER_LEFT)

    def test_endOfOneThatReadsNothing(self) -> None:
        """One that has ended its stream and takes no answers is not waited for."""
        server, client = self.servers[0], self.clients[0]
        server.room = 0
        server.receive(PING * 3 + packet(1, b"x") * (2 * PACKETS_A_TURN))
        server.end()
        self.turn(9)
        self.assertEqual(len(client.take()), 2 * PACKETS_A_TURN)
        self.assertIs(client.outcome, Outcome.PARTNER_LEFT)

    def test_faultInLastWords(self) -> None:
        """Then a mistake ends it at once."""
        server, client = self.servers[0], self.clients[0]
        call = packet(0, calling("No.Such"))
        server.receive(packet(1, b"x") * PACKETS_A_TURN + call + packet(1, b"y") * PACKETS_A_TURN)
        server.leave()
        self.turn(9)
        self.assertIs(client.outcome, Outcome.PARTNER_LEFT)

    def test_manyClientsOfOneThatIsGone(self) -> None:
        """They are sent away in turns; what they still say is for nobody."""
        server = self.servers[0]
        clients = [self.world.client(server) for _ in range(3 * CLIENTS_A_TURN)]
        server.say(0, b"no call")
        self.assertIs(server.outcome, Outcome.INVALID_JSON)
        server.heard()
        over = [client for client in clients if client.outcome is Outcome.PARTNER_LEFT]
        self.assertLessEqual(len(over), CLIENTS_A_TURN)
        for client in clients:
            if client not in over:
                client.receive(b"nobody hears that")
        clients[0].leave()
        self.turn(4)
        for client in clients[1:]:
            self.assertIs(client.outcome, Outcome.PARTNER_LEFT)
        self.assertEqual((server.heard(), server.late), ([], []))


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


Step = tuple[int, int, int]


class Story:
    """Anything in any order, with two servers; knows what everybody must have received."""

    def __init__(self, case: SynchronousTestCase, totalBacklog: int) -> None:
        self.case = case
        self.world = World(
            Terms(
                clientBacklog=100,
                totalBacklog=totalBacklog,
                clientPatience=5.0,
                clientsPerServer=6,
            )
        )
        self.servers = [self.world.server(number) for number in range(2)]
        self.clients: list[ClientLeg] = []
        self.homes: dict[ClientLeg, ServerLeg] = {}
        self.due: dict[FakeLeg, bytes] = {}  # what a client must get, or must have got
        self.given: dict[ClientLeg, bytes] = {}  # what it sent while it had a server
        self.known: dict[ServerLeg, dict[int, ClientLeg]] = {server: {} for server in self.servers}
        self.received: dict[ClientLeg, bytes] = {}
        self._count = 0

    def isKnown(self, client: ClientLeg) -> bool:
        """Whether a client's server knows it, so that they can talk to each other."""
        return client in self.known[self.homes[client]].values()

    def data(self, size: int) -> bytes:
        """Return data unlike any other."""
        self._count += 1
        return (b"%d," % self._count * size)[:size]

    def isThere(self, leg: FakeLeg) -> bool:
        """Whether a connection is up."""
        return leg.outcome is None and not leg.isGone

    def step(self, kind: int, who: int, size: int) -> None:
        """Let one thing happen, if it can."""
        server = self.servers[who % 2]
        client = self.clients[who % len(self.clients)] if self.clients else None
        if kind == 0 or client is None:
            self.come(server)
        elif kind in (1, 2) and self.isKnown(client):
            home = self.homes[client]
            if kind == 1 and home.reading:
                data = self.data(size)
                self.due[client] += data
                home.say(client.address, data)
            elif kind == 2 and client.reading:
                data = self.data(size)
                self.given[client] += data
                client.receive(data)
        elif kind == 3:
            client.room = size
        elif kind == 4:
            client.drain(None if size > 45 else size)
        elif kind == 5:
            server.room = size
        elif kind == 6:
            server.drain(None if size > 45 else size)
        elif kind == 7 and server.reading:
            server.call("TunnelProxy.DisconnectClient", {"socketAddress": who})
        elif kind == 8 and server.reading:
            server.receive(PING)
        elif kind == 9:
            (client.leave if size > 30 else client.end)()
        elif kind == 10 and size > 45:
            (server.leave if size > 70 else server.end)()
        elif kind == 11:
            self.world.clock.advance(size / 30)
        elif kind == 12 and server.reading:
            self.sayAll(server, size)
        self.world.clock.advance(0)
        self.look()

    def sayAll(self, server: ServerLeg, size: int) -> None:
        """Let a server send to all of its clients, in turn and more than once, in one read."""
        stream = b""
        for times in range(3):
            for address, client in self.known[server].items():
                data = self.data(size % 30)
                self.due[client] += data
                stream += packet(address, data) + (PING if times == size % 3 else b"")
        server.receive(stream)

    def come(self, server: ServerLeg) -> None:
        """Let a client come."""
        try:
            client = self.world.client(server)
        except PlaceRefused as refusal:
            if refusal.outcome is Outcome.SERVER_STALLED:
                self.case.assertTrue(server.blocked)
            else:
                self.case.assertIs(refusal.outcome, Outcome.TOO_MANY_CLIENTS_OF_SERVER)
            return
        self.clients.append(client)
        self.homes[client] = server
        self.due[client] = self.given[client] = self.received[client] = b""

    def look(self) -> None:
        """Check what holds at any time."""
        case = self.case
        for place, server in enumerate(self.servers):
            self.hear(server)
            slow = [client for client in self.known[server].values() if client.blocked]
            if self.isThere(server) and not server.reading:
                case.assertTrue(slow or server.blocked, "nothing to wait for")
            if not self.isThere(server):
                self.known[server].clear()
                server.leave()
                self.servers[place] = self.world.server(place)
                self.known[self.servers[place]] = {}
        for client in list(self.clients):
            got, due = b"".join(client.sent), self.due[client]
            case.assertTrue(due.startswith(got))
            if not client.blocked and not client.isGone:
                case.assertEqual(got, due)
            if self.isKnown(client) and self.isThere(client) and not client.reading:
                case.assertTrue(self.homes[client].blocked, "nothing to wait for")
            if not self.isThere(client):
                if client.outcome is Outcome.CLIENT_TOO_SLOW:
                    case.assertTrue(client.blocked)
                elif not client.isGone:
                    case.assertEqual(got, due)
                case.assertFalse(self.isKnown(client))
                client.leave()
                self.clients.remove(client)
            if not self.isKnown(client):
                case.assertEqual(self.received[client], self.given[client])

    def hear(self, server: ServerLeg) -> None:
        """Read what a server was sent; clients are announced, and then gone, in order."""
        known = self.known[server]
        for each in server.heard():
            if isinstance(each, tuple):
                self.received[known[each[0]]] += each[1]
            elif "notification" in each:
                params = each["params"]
                address = params["socketAddress"]
                if each["notification"] == "TunnelProxy.ClientConnected":
                    self.case.assertNotIn(address, known)
                    (known[address],) = (
                        client
                        for client in self.homes
                        if f"{{{uuid(client.number)}}}" == params["clientUuid"]
                    )
                else:
                    del known[address]

    def end(self) -> None:
        """Everybody reads: all goes on, and all that was sent has arrived."""
        for leg in (*self.servers, *self.clients):
            leg.drain()
        self.world.clock.advance(0)
        self.look()
        for leg in (*self.servers, *self.clients):
            self.case.assertTrue(leg.reading)
        for client in self.clients:
            self.case.assertTrue(self.isKnown(client), "it has all and should be gone")
            self.case.assertEqual(self.received[client], self.given[client])
        self.world.check(self.case)


class AnythingTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    def setUp(self) -> None:
        self.patch(clientend, "SLICE_SIZE", 16)
        self.patch(backlog, "CAUGHT_UP", 8)
        self.patch(clientend, "STALLED", 9.0)
        self.patch(serverend, "SERVER_BACKLOG", 300)
        self.patch(serverend, "PACKETS_A_TURN", 3)
        self.patch(serverend, "CALLS_A_TURN", 1)
        self.patch(serverend, "CLIENTS_A_TURN", 2)

    @PROPERTY
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12]),
                st.integers(0, 11),
                st.integers(1, 90),
            ),
            max_size=80,
        ),
        st.sampled_from([150, 10_000]),
    )
    def test_anything(self, steps: list[Step], totalBacklog: int) -> None:
        """Nothing is lost, mixed up or left behind, and nobody waits for nothing."""
        story = Story(self, totalBacklog)
        for step in steps:
            story.step(*step)
        story.end()
