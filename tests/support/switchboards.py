"""A tunnel proxy in memory: legs that only take notes, and time that is a fake clock's.

Knows the protocol from its specification, and how a server and its clients behave; what is checked
stands in the tests.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

from hypothesis import settings
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import NOBODY, ILeg, Tunnel
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import (
    ClientRegistration,
    Registration,
    ServerRegistration,
    TunnelProxyError,
    errorFor,
)
from nymearemoteproxy.tunnelproxy.counts import SourceCounts
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from tests.support.packets import (
    SPECIAL,
    prefixed,
    prefixedPackets,
    referenceDecode,
    referenceEncode,
)

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

    record = None

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

    def packets(self) -> list[tuple[int, bytes]]:
        """Return the packets that were written to it, and forget them."""
        return packets(self.take())

    def heard(self) -> list[Heard]:
        """Return what it was sent: messages of the proxy without id, and (address, data)."""
        heard: list[Heard] = []
        for address, data in self.packets():
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


class LengthPrefixedLeg(ServerLeg):
    """The leg of one whose packets have their length in front: SLIP that it says is translated."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._begun = b""  # of SLIP

    def packets(self) -> list[tuple[int, bytes]]:
        return prefixedPackets(self.take())

    def receive(self, data: bytes) -> None:
        *whole, self._begun = (self._begun + data).split(b"\xc0")
        said = packets(b"".join(each + b"\xc0" for each in whole if each))
        self.receiveRaw(b"".join(itertools.starmap(prefixed, said)))

    def say(self, address: int, data: bytes) -> None:
        self.receiveRaw(prefixed(address, data))

    def receiveRaw(self, data: bytes) -> None:
        """Send any bytes."""
        super().receive(data)


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


def paused(client: ClientLeg) -> Heard:
    """Return what a server is told of a client for which much waits."""
    return {
        "notification": "TunnelProxy.ClientPaused",
        "params": {"socketAddress": client.address},
    }


def resumed(client: ClientLeg) -> Heard:
    """Return what it is told when that client has caught up."""
    return {
        "notification": "TunnelProxy.ClientResumed",
        "params": {"socketAddress": client.address},
    }


class World:
    """A tunnel proxy on a fake clock, its servers and clients.

    :param lengthPrefixed: the packets of servers have their length in front.
    """

    def __init__(self, terms: Terms, lengthPrefixed: bool = False) -> None:
        self.clock = Clock()
        self._lengthPrefixed = lengthPrefixed
        self.counts = SourceCounts()
        self.switchboard = Switchboard(self.clock, HELLO, terms, Turns(self.clock), self.counts)
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

    def server(
        self, number: int = 1, origin: Origin | None = None, flowControl: bool = False
    ) -> ServerLeg:
        """Let a server register."""
        leg = LengthPrefixedLeg(number) if self._lengthPrefixed else ServerLeg(number)
        registration = ServerRegistration(
            f"server {number}", leg.uuid, flowControl, lengthPrefixed=self._lengthPrefixed
        )
        self.attach(self.register(registration, origin), leg)
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
        case.assertTrue(self.counts.isEmpty)
        case.assertEqual((self.backlog, self.late), (0, 0))
        case.assertEqual(self.clock.getDelayedCalls(), [])


class SwitchboardCase(SynchronousTestCase):
    """A tunnel proxy that has nothing left when the test is over."""

    terms = Terms()
    lengthPrefixed = False

    def setUp(self) -> None:
        self.world = World(self.terms, self.lengthPrefixed)
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


class ThreeClientsCase(SwitchboardCase):
    """A server that has three clients."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.world.server()
        self.clients = [self.world.client(self.server) for _ in range(3)]
        self.server.heard()

    def assertReading(self, *expected: bool) -> None:
        """These clients are read from, the others not."""
        self.assertEqual(tuple(client.reading for client in self.clients), expected)
