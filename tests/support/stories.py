"""Members of a cluster that die, freeze and are cut off, each with a clock and a view of its own.

Everything takes its way through `Network`: a command reaches the directory when whoever sent it has
done what it is at, and its answer takes as long. A member that is frozen reads nothing, and its
clock's calls are late; one that is dead has closed its connections, as the kernel does. Clients are
of the first API on Unix sockets, or of the tunnel proxy.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, Member
from nymearemoteproxy.cluster.linking import LINK_TIMEOUT, LinkFailed, LinkRefused
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.cluster.memorydirectory import MemoryDirectory, PlaceTable
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.timing import Timing
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.protocol.session import PairingKeys, makeHello
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard, Terms
from nymearemoteproxy.wires.arrival import ProxyFactory
from nymearemoteproxy.wires.direct import DirectFactory, DirectTransport
from nymearemoteproxy.wires.stream import StreamControl
from tests.support.memory import Pipe
from tests.support.memorylinks import WINDOW, Network
from tests.support.parts import makeProxy

Result = TypeVar("Result")

PROBE = 2.0
"""Seconds after which it is looked whether the directory answers again."""

DIRECTORY_TIMEOUT = 1.0
"""Seconds until a command has failed that is not answered."""

TIMING = Timing(alone=30, inactive=8, authentication=8, ping=0, pingAnswer=10, close=5)

_LEFT = socket.socketpair()
_LEFT[0].close()
"""The other one stands for every socket whose peer has closed it: it hangs up."""


class Strand(Pipe):
    """One end of a link, or of a client's connection whose other end is the test.

    :ivar inbox: what has arrived and was not read.
    :ivar isEnded: behind that there is an end.
    :ivar isReset: the other end was closed with a reset.
    :ivar isHeld: what is sent to this end is on its way for long.
    """

    other: Strand | None = None

    def __init__(self, land: Land, node: Node) -> None:
        super().__init__(UNIXAddress(None))
        self.land = land
        self.node = node
        self.inbox = bytearray()
        self.isEnded = self.isReset = False
        self._isAborted = False
        self.isHeld = False
        self.lastAck = 0

    @property
    def isBlocked(self) -> bool:
        """Nothing arrives, or nobody looks."""
        node, other = self.node, self.other
        isCut = other is not None and self.land.isCut(node, other.node)
        return self.lost or node.isFrozen or node.isDead or isCut or self.isHeld

    def fileno(self) -> int:
        return _LEFT[1].fileno() if self.isReset else super().fileno()

    # Sending

    def send(self, data: bytes) -> int:
        if self.other is None:
            return super().send(data)
        room = WINDOW - len(self.other.inbox)
        if self.lost or self.full or room <= 0 or self.disconnecting:
            raise BlockingIOError
        self.other.inbox += data[:room]
        self.land.network.later(self.other.read)
        return min(room, len(data))

    def write(self, data: bytes) -> None:
        super().write(data)
        self.land.network.later(self.flush)

    def flush(self) -> None:
        """Send what waits, then the end if there is to be one."""
        if self.node.isFrozen or self.node.isDead or self.lost:
            return
        while self._unsent:
            room = WINDOW if self.other is None else WINDOW - len(self.other.inbox)
            if self.full or room <= 0:
                return
            data = self._unsent.pop(0)
            if self.other is None:
                super().send(data)
            else:
                self.other.inbox += data
                self.land.network.later(self.other.read)
        if self.producer is not None:
            self.producer.resumeProducing()
        if self.disconnecting:
            self._finish()

    # Receiving

    def read(self) -> None:
        """Let the process read, if it does."""
        if self.isBlocked:
            return
        if self.isReset and (self.producerState == "producing" or self._unsent):
            self.lose(ConnectionLost())
            return
        while self.inbox and self.producerState == "producing" and not self.lost:
            data = bytes(self.inbox[:98_436])
            del self.inbox[:98_436]
            self.protocol.dataReceived(data)
        if self.lost or self.inbox:
            return
        if self.other is not None:
            self.land.network.later(self.other.flush)
        if self.isEnded and self.producerState == "producing":
            self.lose(ConnectionDone())

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.land.network.later(self.read)

    # Closing

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.land.network.later(self.flush)

    def abortConnection(self) -> None:
        if not self._isAborted:
            self._isAborted = True
            self.land.network.later(self._abort)

    def _abort(self) -> None:
        if not self.node.isDead and not self.lost:
            self._reset()
            self.lose(ConnectionAborted())

    def _finish(self) -> None:
        self.hangUp()
        self.lose(ConnectionDone())

    def _reset(self) -> None:
        if self.other is not None:
            self.other.isReset = True
            self.other.inbox.clear()
            self.land.network.later(self.other.read)

    def hangUp(self) -> None:
        """What the kernel does when a process closes a connection, or is killed."""
        if self.inbox:
            self._reset()
        elif self.other is not None:
            self.other.isEnded = True
            self.land.network.later(self.other.read)

    def lose(self, reason: Exception) -> None:
        wasLost = self.lost
        super().lose(reason)
        if not wasLost and self in self.node.strands:
            self.node.strands.remove(self)


class StoryDirectory(MemoryDirectory):
    """One member's view of the table, over the network."""

    def __init__(self, land: Land, node: Node, me: Member) -> None:
        super().__init__(land.table, me, node.clock, node.clock.seconds)
        self.isAnswering = True
        self._land = land
        self._node = node
        self._isGreeting = False

    def _ask(self, command: Callable[[], Result]) -> Deferred[Result]:
        if not self.isAnswering:
            return fail(DirectoryError("it does not answer"))
        land = self._land
        land.commands += 1
        answered: Deferred[Result] = Deferred()
        timer = self._node.clock.callLater(DIRECTORY_TIMEOUT, self._failed, answered, None)
        arrive = partial(self._arrived, command, answered, timer)
        if land.isFailing:
            land.network.later(partial(self._node.do, partial(self._failed, answered, timer)))
        elif land.isHanging or self._node in land.withoutDirectory:
            land.late.append((self._node, arrive))
        else:
            land.network.later(arrive)
        return answered

    def _arrived(self, command: Callable[[], Result], answered: Deferred[Any], timer: Any) -> None:
        result = command()
        hear = partial(self._heard, result, answered, timer)
        self._land.network.later(partial(self._node.do, hear))

    def _heard(self, result: Any, answered: Deferred[Any], timer: Any) -> None:
        if not answered.called:
            timer.cancel()
            answered.callback(result)
        elif timer.active():
            timer.cancel()

    def _failed(self, answered: Deferred[Any], timer: Any) -> None:
        if timer is not None and timer.active():
            timer.cancel()
        if self.isAnswering:
            self.isAnswering = False
            self._retry()
        if not answered.called:
            answered.errback(DirectoryError("it did not answer"))

    def _retry(self) -> None:
        self._probe = self._node.clock.callLater(PROBE, self._look)

    def _look(self) -> None:
        land = self._land
        if land.isFailing or land.isHanging or self._node in land.withoutDirectory:
            self._retry()
        else:
            self.returned()

    def returned(self) -> None:
        """It may answer again: renew the lease, as at each connection, before anything else."""
        if not (self.isAnswering or self._isGreeting):
            self._isGreeting = True
            if self._probe.active():
                self._probe.cancel()
            self._land.network.later(partial(self._node.do, self._greet))

    def _greet(self) -> None:
        self._isGreeting = False
        land = self._land
        if land.isFailing or land.isHanging or self._node in land.withoutDirectory:
            self._retry()
            return
        self._lease.renewed(self._lease.sending(), land.table.renew(self.me))
        self.isAnswering = True
        self._tell()

    def tell(self) -> None:
        """All places have to be claimed anew."""
        self._tell()


class StoryLinker:
    """Makes links from one member."""

    def __init__(self, land: Land, node: Node) -> None:
        self._land = land
        self._node = node

    def connect(self, member: Member, protocol: Any) -> Deferred[None]:
        land = self._land
        there = land.nodes[member.id]
        if land.isCut(self._node, there) or land.linksHang:
            failed: Deferred[None] = Deferred(lambda _failed: timer.cancel())
            timer = self._node.clock.callLater(
                LINK_TIMEOUT, failed.errback, LinkFailed("no way there")
            )
            return failed
        if there.isDead:
            return fail(LinkRefused("nobody listens there"))
        land.links += 1
        ours, theirs = Strand(land, self._node), Strand(land, there)
        ours.other, theirs.other = theirs, ours
        self._node.connected(ours, protocol)
        there.do(lambda: there.connected(theirs, there.membership.answerer(None)))
        return succeed(None)


class Node:
    """One member.

    :ivar isDead: its process was killed.
    :ivar isFrozen: its process is stopped.
    """

    def __init__(self, land: Land, number: int) -> None:
        self.land = land
        self.number = number
        self.id = bytes([number]) * 16
        self.isDead = self.isFrozen = False
        self.strands: list[Strand] = []
        self._pending: list[Callable[[], object]] = []
        self.clock = Clock()
        self.clock.rightNow = land.now
        self.turns = Turns(self.clock)
        switchboard = Switchboard(self.clock, makeHello("test", True), Terms(), self.turns)
        self.rendezvous = Rendezvous()
        self.switchboard = switchboard
        self.proxy: Any = makeProxy(
            self.clock,
            rendezvous=self.rendezvous,
            switchboard=switchboard,
            turns=self.turns,
            timing=TIMING,
            messageLimit=10240,
        )
        self.proxy._keys = PairingKeys(secret=b"")
        me = Member(self.id, f"unix:/{number}", VERSION)
        self.directory = StoryDirectory(land, self, me)
        self.membership = Membership(
            self.proxy, self.directory, StoryLinker(land, self), self.id, LINK_TIMEOUT
        )
        self.places = self.membership.places
        self.directory.start().addErrback(lambda failure: failure.trap(DirectoryError))
        self.membership.start()

    def do(self, act: Callable[[], object]) -> None:
        """Let the process do something: now, when it is thawed, or never."""
        if self.isFrozen:
            self._pending.append(act)
        elif not self.isDead:
            act()

    def connected(self, strand: Strand, protocol: Any) -> None:
        """Give a connection to a protocol."""
        self.strands.append(strand)
        strand.protocol = direct = DirectTransport(protocol)
        direct.makeConnection(strand)
        self.land.network.later(strand.read)

    def die(self) -> None:
        """The process is killed."""
        self.isDead, self.isFrozen = True, False
        strands, self.strands = self.strands, []
        for strand in strands:
            strand.hangUp()
            strand.lost = True
        self.land.network.run()

    def freeze(self) -> None:
        """The process is stopped."""
        self.isFrozen = True

    def thaw(self) -> None:
        """It goes on: timers that are due run before anything is read."""
        self.isFrozen = False
        self.clock.advance(self.land.now - self.clock.rightNow)
        pending, self._pending = self._pending, []
        for act in pending:
            self.do(act)
        self.wake()
        self.land.network.run()

    def wake(self) -> None:
        """Look at all connections."""
        for strand in list(self.strands):
            self.land.network.later(strand.flush)
            self.land.network.later(strand.read)


class Client:
    """A client of one member, on a stream; it closes as soon as it is told goodbye.

    :ivar key: its token, or what stands for it.
    :ivar asked: when what it asked for arrived.
    """

    def __init__(self, land: Land, node: Node, key: str, label: str = "") -> None:
        self.land = land
        self.node = node
        self.key = key
        self.label = label
        self.asked: float | None = None
        self.pipe = Strand(land, node)
        self.isGone = False
        self.record: Any = None
        node.do(self._connect)
        land.clients.append(self)

    def _connect(self) -> None:
        factory = ProxyFactory(self.node.proxy, "TCP", False, False, StreamControl)
        direct = DirectFactory(factory).buildProtocol(UNIXAddress(None))
        assert direct is not None
        self.pipe.protocol = direct
        self.node.strands.append(self.pipe)
        direct.makeConnection(self.pipe)
        registry = self.node.proxy.registry
        self.record = registry._records[max(registry._records)]

    def call(self, method: str, **params: str) -> None:
        """Call the proxy."""
        self.send(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")

    def send(self, data: bytes) -> None:
        """Send something."""
        self.node.do(partial(self._arrived, data))
        self.land.network.run()

    def _arrived(self, data: bytes) -> None:
        if self.asked is None:
            self.asked = self.land.now
        self.pipe.inbox += data
        self.pipe.read()

    def leave(self) -> None:
        """Close the connection."""
        if not self.isGone:
            self.isGone = True
            self.node.do(self._close)
            self.land.network.run()

    def _close(self) -> None:
        self.pipe.isEnded = True
        self.pipe.read()
        self.pipe.lose(ConnectionLost())

    def loseContact(self) -> None:
        """From now on TCP hears nothing of it."""
        self.pipe.family, self.pipe.lastAck = socket.AF_INET, 1_000_000

    @property
    def lines(self) -> list[bytes]:
        """What it was sent, line by line."""
        return self.pipe.value().split(b"\n")

    @property
    def outcome(self) -> str | None:
        """How its connection has ended, or ends; None = it has not."""
        outcome = None if self.record is None else self.record.outcome
        return None if outcome is None else outcome.label

    @property
    def isTold(self) -> bool:
        """It was told goodbye, or its connection is closed."""
        pipe = self.pipe
        return pipe.halfClosed or pipe.lost or pipe.disconnecting

    @property
    def isMet(self) -> bool:
        """It was told that its partner is there."""
        words = (b'Tunnel.Established"', b'TunnelEstablished"', b'ProxyErrorNoError"')
        return any(word in line for line in self.lines for word in words)

    @property
    def isWaiting(self) -> bool:
        """It has asked, and waits."""
        return not (self.isGone or self.isTold or self.isMet or self.node.isDead)

    @property
    def isUp(self) -> bool:
        """It has a partner, as far as it knows."""
        return self.isMet and not (self.isGone or self.isTold or self.node.isDead)

    def heard(self) -> list[str]:
        """What it was sent by partners."""
        lines = [line.decode() for line in self.lines]
        return [line for line in lines if line and not line.startswith("{")]


class Land:
    """All members, the directory, and what is between them."""

    def __init__(self, size: int) -> None:
        self.network = Network()
        self.now = 0.0
        self.table = PlaceTable(lambda: self.now)
        self.nodes: dict[bytes, Node] = {}
        self.clients: list[Client] = []
        self.cuts: set[frozenset[int]] = set()
        self.isFailing = self.isHanging = self.linksHang = False
        self.withoutDirectory: set[Node] = set()
        self.late: list[tuple[Node, Callable[[], object]]] = []
        self.commands = self.links = 0
        for _ in range(size):
            self.add()
        self.network.run()

    def add(self) -> Node:
        """Let a member join."""
        node = Node(self, len(self.nodes) + 1)
        self.nodes[node.id] = node
        return node

    @property
    def living(self) -> list[Node]:
        """Those that are not dead."""
        return [node for node in self.nodes.values() if not node.isDead]

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            self._settle()
            running = [node for node in self.living if not node.isFrozen]
            due = [call.getTime() for node in running for call in node.clock.calls]
            if not due or min(due) > end:
                break
            self._pass(running, max(self.now, min(due)))
        self._pass([node for node in self.living if not node.isFrozen], end)
        self._settle()

    def _pass(self, nodes: list[Node], now: float) -> None:
        self.now = now
        for node in nodes:
            if not node.isFrozen and not node.isDead:
                node.clock.rightNow = now
                node.clock.advance(0)
                self.network.run()

    def _settle(self) -> None:
        self.network.run()
        for client in list(self.clients):
            if client.isTold and not client.pipe._unsent:
                client.leave()

    @contextlib.contextmanager
    def atOnce(self) -> Iterator[None]:
        """Let nothing arrive before all of this is done."""
        run = self.network.run
        self.network.run = lambda: None  # type: ignore[method-assign]
        yield
        self.network.run = run  # type: ignore[method-assign]
        run()

    # What may go wrong

    def isCut(self, one: Node, other: Node) -> bool:
        """Tell whether nothing passes between two members."""
        return frozenset((one.number, other.number)) in self.cuts

    def cut(self, one: Node, other: Node) -> None:
        """Let nothing pass between two members."""
        self.cuts.add(frozenset((one.number, other.number)))

    def heal(self) -> None:
        """Let everything pass between members."""
        self.cuts.clear()
        for node in self.living:
            node.wake()
        self.network.run()

    def restore(self) -> None:
        """Let the directory answer again, all members; what waits there is done."""
        self.isFailing = self.isHanging = False
        self.withoutDirectory.clear()
        late, self.late = self.late, []
        for node, arrive in late:
            if not node.isDead:
                arrive()
        self.network.run()
        for node in self.living:
            node.do(node.directory.returned)
        self.network.run()

    def empty(self) -> None:
        """Empty the directory."""
        self.table._holders.clear()
        self.table._places.clear()
        self.table._members.clear()

    # Clients

    def join(self, node: Node, key: str, label: str = "", uuid: str | None = None) -> Client:
        """Let a client come that waits for its partner."""
        client = Client(self, node, key, label)
        who = {} if uuid is None else {"uuid": uuid, "name": label}
        client.call("Authentication.Authenticate", token=key, **who)
        self.advance(0)
        return client

    def serve(self, node: Node, uuid: UUID) -> Client:
        """Let a server register."""
        client = Client(self, node, f"{{{uuid}}}")
        client.call("TunnelProxy.RegisterServer", serverName="core", serverUuid=f"{{{uuid}}}")
        self.advance(0)
        return client

    def visit(self, node: Node, server: UUID, uuid: UUID) -> Client:
        """Let a client of a server register."""
        client = Client(self, node, f"{{{uuid}}}")
        client.call(
            "TunnelProxy.RegisterClient",
            clientName="app",
            clientUuid=f"{{{uuid}}}",
            serverUuid=f"{{{server}}}",
        )
        self.advance(0)
        return client

    def listed(self) -> dict[str, Holder]:
        """Return what stands in the directory."""
        return dict(self.table._holders)


class StoryCase(SynchronousTestCase):
    """Three members, that have nothing left when a story is over."""

    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.land = Land(3)
        self.one, self.two, self.three = self.land.nodes.values()

    def tearDown(self) -> None:
        checkEmpty(self, self.land)

    def assertTunnel(self, one: Client, other: Client) -> None:
        """Two have met, and what either says the other one hears."""
        self.assertTrue(one.isUp, (one.outcome, one.pipe.value()))
        self.assertTrue(other.isUp, (other.outcome, other.pipe.value()))
        for speaker, hearer in ((one, other), (other, one)):
            word = f"word {len(hearer.heard())}"
            speaker.send(word.encode() + b"\n")
            self.land.advance(
                0.05
            )  # some clients are told of their partner in a message of its own
            self.assertEqual(hearer.heard()[-1], word)

    def assertTold(self, client: Client, outcome: str) -> None:
        """It was told why."""
        self.assertTrue(client.isTold, client.pipe.value())
        self.assertEqual(client.outcome, outcome)

    def assertWaits(self, *clients: Client) -> None:
        """They wait."""
        for client in clients:
            self.assertTrue(client.isWaiting, (client.outcome, client.pipe.value()))


def checkEmpty(case: SynchronousTestCase, land: Land) -> None:
    """When all have left and things are calm, nothing is left of them anywhere."""
    for node in land.living:
        if node.isFrozen:
            node.thaw()
    land.heal()
    land.linksHang = False
    land.restore()
    for client in land.clients:
        client.leave()
    land.advance(40)
    listed = land.listed().values()
    case.assertEqual([holder for holder in listed if not land.nodes[holder.member].isDead], [])
    counted: Counter[str] = Counter()
    for node in land.living:
        for outcome, count in node.proxy.registry.counters.outcomes.items():
            counted[outcome.label] += count
    ended = [client.outcome for client in land.clients if client.node in land.living]
    case.assertEqual(counted, Counter(outcome or "connection-lost" for outcome in ended))
    for node in land.living:
        rendezvous, switchboard = node.rendezvous, node.switchboard
        counts = (rendezvous.waiting, rendezvous.tunnels, switchboard.servers, switchboard.clients)
        case.assertEqual(counts, (0, 0, 0, 0))
        case.assertEqual((rendezvous._behind, rendezvous._looks), ({}, {}))
        case.assertEqual(node.membership.rendezvous._guests, {})
        shared = node.membership.switchboard
        assert shared is not None
        case.assertEqual((shared._away, shared._coming), ({}, {}))
        case.assertEqual(node.membership.contests._doubted, set())
        places = node.places
        case.assertEqual((places._spots, places._seats, places._unlisted), ({}, {}, {}))
        case.assertEqual(len(places._leftovers), 0)
        case.assertEqual((places.held, places.contested), (0, 0))
        case.assertEqual(node.membership.asking._guests, {})
        for counts in (node.membership.links.incomingBy, node.membership.links.outgoingBy):
            case.assertEqual(Counter(counts), Counter())
        case.assertEqual(node.membership.links._links, {})
        case.assertEqual(node.membership.liveness._peers, {})
        case.assertEqual(node.strands, [])
        case.assertEqual(list(node.proxy.registry.records), [])
        node.membership.stop()
        node.directory._lease.stop()
        case.assertEqual(node.clock.getDelayedCalls(), [])
    land.network.run()
