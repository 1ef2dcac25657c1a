"""Members of a cluster in memory, on one clock: links between them that hold as much as real ones.

Nothing that is sent is heard before whoever sent it has done what it is at, as in a reactor: `run`
of the network delivers, and clients and the clock call it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.linking import LinkRefused
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.cluster.memorydirectory import MemoryDirectory, Table
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.protocol.session import PairingKeys, makeHello
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard
from nymearemoteproxy.wires.direct import DirectTransport
from tests.support.inmemory import InMemory
from tests.support.memory import Pipe

WINDOW = 256 << 10
"""Bytes that a link holds which nobody has read."""


class Network:
    """What is under way."""

    def __init__(self) -> None:
        self._events: deque[Callable[[], object]] = deque()

    def later(self, act: Callable[[], object]) -> None:
        """Do it when everybody has done what they are at."""
        self._events.append(act)

    def run(self) -> None:
        """Let everything arrive."""
        while self._events:
            self._events.popleft()()


class NetworkClock(Clock):
    """A clock; as it goes on, what is under way arrives."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def advance(self, amount: float) -> None:
        self._network.run()
        super().advance(amount)
        self._network.run()


class ClientPipe(Pipe):
    """A client's connection; whatever it does, its consequences follow."""

    network: Network

    def receive(self, data: bytes) -> None:
        super().receive(data)
        self.network.run()

    def lose(self, reason: Exception) -> None:
        super().lose(reason)
        self.network.later(lambda: None)

    def take(self) -> bytes:
        self.network.run()
        return super().take()

    def value(self) -> bytes:
        self.network.run()
        return super().value()

    def drain(self) -> None:
        super().drain()
        self.network.run()


class LinkPipe(Pipe):
    """One end of a link.

    :ivar inbox: what has arrived and was not read.
    :ivar isFrozen: its process is stopped: it reads nothing, whatever it is asked.
    """

    other: LinkPipe

    def __init__(self, network: Network) -> None:
        super().__init__(UNIXAddress(None))
        self.network = network
        self.inbox = bytearray()
        self.isFrozen = False
        self.isEnded = False
        self._drained = False

    def send(self, data: bytes) -> int:
        if self.full or self.lost:
            raise BlockingIOError
        room = WINDOW - len(self.other.inbox)
        if room <= 0:
            raise BlockingIOError
        self.other.inbox += data[:room]
        self.network.later(self.other.read)
        return min(room, len(data))

    def write(self, data: bytes) -> None:
        super().write(data)
        self.network.later(self.flush)

    def flush(self) -> None:
        """Send what waits."""
        while self._unsent and not self.lost:
            data = self._unsent.pop(0)
            try:
                sent = self.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self._unsent.insert(0, data[sent:])
                return
        if self.producer is not None:
            self.producer.resumeProducing()
        if self.disconnecting and not self.lost:
            self.finish()

    def read(self) -> None:
        """What has arrived is read, if it is."""
        while self.inbox and self.producerState == "producing" and not self.isFrozen:
            if self.lost:
                return
            size = self.protocol.transport._lowest.bufferSize if False else 98_436
            data = bytes(self.inbox[:size])
            del self.inbox[:size]
            self.protocol.dataReceived(data)
        if not self.inbox:
            self.network.later(self.other.flush) if self.other._unsent else None
            if self.isEnded and self.producerState == "producing" and not self.isFrozen:
                self.lose(ConnectionDone())

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.network.later(self.read)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.network.later(self.flush)

    def finish(self) -> None:
        """All is sent: the end."""
        self.other.isEnded = True
        self.network.later(self.other.read)
        self.lose(ConnectionDone())

    def abortConnection(self) -> None:
        self.lose(ConnectionAborted())
        self.other.inbox.clear()
        self.network.later(lambda: self.other.lose(ConnectionLost()))


class Linker:
    """Makes links in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def connect(self, member: Member, protocol: Any) -> Deferred[None]:
        node = self._world.nodes.get(member.id)
        if node is None or node.isDead:
            return fail(LinkRefused("nobody listens there"))
        here, there = LinkPipe(self._world.network), LinkPipe(self._world.network)
        here.other, there.other = there, here
        there.isFrozen = node.isFrozen
        node.pipes.append(there)
        for pipe, end in ((there, node.membership.answerer(None)), (here, protocol)):
            pipe.protocol = direct = DirectTransport(end)
            direct.makeConnection(pipe)
        return succeed(None)


class Node:
    """One member.

    :ivar isDead: its process was killed.
    :ivar isFrozen: its process is stopped.
    """

    def __init__(self, world: World, number: int, proxy: Any) -> None:
        self.id = bytes([number]) * 16
        self.proxy = proxy
        self.isDead = False
        self.isFrozen = False
        self.pipes: list[LinkPipe] = []
        me = Member(self.id, f"unix:/{number}", VERSION)
        self.directory = MemoryDirectory(world.table, me, world.clock, world.clock.seconds)
        self.membership = Membership(proxy, self.directory, Linker(world), self.id)
        self.directory.start()
        self.membership.start()

    def die(self) -> None:
        """The process is killed: its links are reset, and nobody listens."""
        self.isDead = True
        for pipe in self.pipes:
            pipe.abortConnection()


class World:
    """All members, and what they share."""

    def __init__(self, clock: Clock, network: Network) -> None:
        self.clock = clock
        self.network = network
        self.table = Table(clock.seconds)
        self.nodes: dict[bytes, Node] = {}

    def add(self, proxy: Any) -> Node:
        """Let a member join."""
        node = Node(self, len(self.nodes) + 1, proxy)
        self.nodes[node.id] = node
        return node


class InCluster(InMemory):
    """Two members; clients come to them in turn, so that partners are never in one process.

    :cvar memberCount: how many members there are.
    """

    memberCount = 2

    def setUp(self) -> None:
        self.network = Network()
        super().setUp()
        self.world = World(self.clock, self.network)
        self.proxies = [self.proxy]
        for _ in range(self.memberCount - 1):
            self.proxies.append(self.makeProxy(Rendezvous(), self.makeSwitchboard()))
        for proxy in self.proxies:
            proxy._keys = PairingKeys(secret=b"")
        self.nodes = [self.world.add(proxy) for proxy in self.proxies]
        self._next = 0

    def makeClock(self) -> Clock:
        return NetworkClock(self.network)

    def makePipe(self, peer: Any) -> Pipe:
        pipe = ClientPipe(peer)
        pipe.network = self.network
        return pipe

    def makeSwitchboard(self) -> Any:
        if self.terms is None:
            return None
        return Switchboard(self.clock, makeHello("test", True), self.terms, self.turns)

    def nextProxy(self) -> Any:
        proxy = self.proxies[self._next % self.memberCount]
        self._next += 1
        return proxy
