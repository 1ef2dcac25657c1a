"""Members of a cluster in memory, on one clock: links between them that hold as much as real ones.

Nothing that is sent is heard before whoever sent it has done what it is at, as in a reactor: `run`
of the network delivers, and clients and the clock call it.
"""

from __future__ import annotations

import itertools
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.linking import LinkRefused
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.cluster.memorydirectory import MemoryDirectory, Table
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.protocol.session import PairingKeys
from nymearemoteproxy.wires.direct import READ_SIZE, DirectTransport
from tests.support.inmemory import InMemory, isWebSocket
from tests.support.memory import CONNECTED, Pipe
from tests.support.together import Together, numbered
from tests.support.wires import maskedFrame

WINDOW = 256 << 10
"""Bytes that a link holds which nobody has read."""

FLOOD = bytes(READ_SIZE - 100)
"""As much as is read at a time, of a WebSocket client, too."""

STEP = 0.5
"""Seconds that pass at a time, at most: less than any answer of another member may take."""

HUNG_UP = socket.socketpair()
"""The first stands for every link in memory whose other end is closed."""

HUNG_UP[1].close()


class Network:
    """What is under way."""

    def __init__(self) -> None:
        self._events: deque[Callable[[], object]] = deque()
        self._isBusy = False

    def later(self, act: Callable[[], object]) -> None:
        """Do it when everybody has done what they are at."""
        self._events.append(act)

    def act(self, act: Callable[..., object], *arguments: Any) -> None:
        """Somebody does something; let its consequences arrive, then, and not earlier."""
        wasBusy, self._isBusy = self._isBusy, True
        try:
            act(*arguments)
        finally:
            self._isBusy = wasBusy
        self.run()

    def run(self) -> None:
        """Let everything arrive, unless that is so already."""
        if self._isBusy:
            return
        self._isBusy = True
        try:
            while self._events:
                self._events.popleft()()
        finally:
            self._isBusy = False


class NetworkClock(Clock):
    """A clock; as it goes on, what is under way arrives."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def advance(self, amount: float) -> None:
        """Let time pass in steps, or those who wait for each other would all be late."""
        self._network.run()
        until = self.seconds() + amount
        while until - self.seconds() > STEP:
            self._network.act(super().advance, STEP)
        self._network.act(super().advance, max(0.0, until - self.seconds()))

    def getDelayedCalls(self) -> list[DelayedCall]:
        """Return those that are not the members' own, which never end."""
        calls = super().getDelayedCalls()
        return [call for call in calls if not isinstance(_owner(call), Periodic)]


def _owner(call: DelayedCall) -> object:
    return getattr(call.func, "__self__", None)


def _afterAll(name: str) -> Any:
    """Return an attribute that is looked at when everything has arrived."""

    def get(pipe: ClientPipe) -> Any:
        pipe.network.run()
        return pipe.state.get(name, False)

    def set(pipe: ClientPipe, value: Any) -> None:
        pipe.state[name] = value

    return property(get, set)


class ClientPipe(Pipe):
    """A client's connection; whatever it does, its consequences follow."""

    disconnecting = _afterAll("disconnecting")
    halfClosed = _afterAll("halfClosed")
    lost = _afterAll("lost")
    producerState = _afterAll("producerState")

    def __init__(self, peer: IAddress, network: Network) -> None:
        self.network = network
        self.state: dict[str, Any] = {}
        super().__init__(peer)
        self.producerState = "producing"

    def receive(self, data: bytes) -> None:
        self.network.act(super().receive, data)

    def lose(self, reason: Exception) -> None:
        self.network.act(super().lose, reason)

    def stall(self) -> None:
        self.network.act(super().stall)

    def drain(self) -> None:
        self.network.act(super().drain)

    def clear(self) -> None:
        self.network.run()
        super().clear()

    def value(self) -> bytes:
        self.network.run()
        return super().value()


class LinkPipe(Pipe):
    """One end of a link, as a socket and the reactor are: what is read and written takes turns.

    :ivar other: the other end.
    :ivar inbox: what has arrived and was not read.
    :ivar isEnded: behind what is in the inbox nothing more comes.
    :ivar isReset: the other end was closed, and had not read everything.
    """

    other: LinkPipe
    bufferSize: int

    def __init__(self, node: Node) -> None:
        super().__init__(UNIXAddress(None))
        self.node = node
        self.network = node.network
        node.pipes.append(self)
        self.inbox = bytearray()
        self.isEnded = False
        self.isReset = False

    def fileno(self) -> int:
        return (HUNG_UP if self.isEnded or self.isReset else CONNECTED)[0].fileno()

    @property
    def held(self) -> int:
        """How many bytes wait in this end to be sent, because the link is full."""
        return sum(map(len, self._unsent))

    def send(self, data: bytes) -> int:
        if self.isReset or self.isEnded:
            raise BrokenPipeError
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
        """There may be room: send what waits."""
        try:
            while self._unsent and not self.lost:
                data = self._unsent[0]
                sent = self.send(data)
                self._unsent[:1] = [data[sent:]] if sent < len(data) else []
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.lose(ConnectionLost())
            return
        if self.producer is not None:
            self.producer.resumeProducing()
        if self.disconnecting:
            self.close(ConnectionDone())

    def read(self) -> None:
        """Read once, if somebody wants to."""
        isRead = self.producerState == "producing" and not self.disconnecting
        if self.lost or not isRead or self.node.isFrozen:
            return
        if self.isReset:
            self.lose(ConnectionLost())
        elif self.inbox:
            data = bytes(self.inbox[: self.bufferSize])
            del self.inbox[: self.bufferSize]
            self.network.later(self.other.flush)
            self.network.later(self.read)
            self.protocol.dataReceived(data)
        elif self.isEnded:
            self.lose(ConnectionDone())

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.network.later(self.read)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.network.later(self.flush)

    def abortConnection(self) -> None:
        self.network.later(lambda: self.close(ConnectionAborted()))

    def close(self, reason: Exception) -> None:
        """Close the socket; the other end notices when it reads or writes, and only then."""
        if not self.lost:
            self._end()
            self.lose(reason)

    def vanish(self) -> None:
        """The same, as the system does it for a process that is killed."""
        if not self.lost:
            self._end()
            self.lost = True

    def _end(self) -> None:
        self.other.isEnded = True
        if self.inbox:
            self.other.isReset = True
            self.other.inbox.clear()
        self.network.later(self.other.read)


class Linker:
    """Makes links in memory, for one member."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node

    def connect(self, member: Member, protocol: Any) -> Deferred[None]:
        node = self._world.nodes.get(member.id)
        if node is None or node.isDead:
            return fail(LinkRefused("nobody listens there"))
        here, there = LinkPipe(self._node), LinkPipe(node)
        here.other, there.other = there, here
        for pipe, end in ((there, node.membership.answerer(None)), (here, protocol)):
            pipe.protocol = direct = DirectTransport(end)
            direct.makeConnection(pipe)
        return succeed(None)


class Node:
    """One member.

    :ivar isDead: its process was killed.
    :ivar isFrozen: its process is stopped: it reads nothing, though others can connect.
    :ivar pipes: its ends of all links that there have been.
    """

    def __init__(self, world: World, number: int, proxy: Any) -> None:
        self.id = bytes([number]) * 16
        self.proxy = proxy
        self.network = world.network
        self.isDead = False
        self.isFrozen = False
        self.pipes: list[LinkPipe] = []
        me = Member(self.id, f"unix:/{number}", VERSION)
        self.directory = MemoryDirectory(world.table, me, world.clock, world.clock.seconds)
        self.membership = Membership(proxy, self.directory, Linker(world, self), self.id)
        self.directory.start()
        self.membership.start()

    def die(self) -> None:
        """The process is killed: its links end without a word of it, and nobody listens."""
        self.isDead = True
        self.directory._lease.stop()
        for pipe in self.pipes:
            pipe.vanish()
        self.network.run()


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

    def start(self) -> None:
        self.world = World(self.clock, self.network)
        self.proxies = [
            self.makeProxy(Rendezvous(), self.makeSwitchboard()) for _ in range(self.memberCount)
        ]
        self._together = Together(self.proxies)
        self._rendezvous = Together([proxy.rendezvous for proxy in self.proxies])
        numbers = itertools.count()
        for proxy in self.proxies:
            proxy._keys = PairingKeys(secret=b"")
            proxy.registry.admit = numbered(proxy.registry, numbers)
        self.nodes = [self.world.add(proxy) for proxy in self.proxies]
        self._next = itertools.cycle(self.proxies)

    @property
    def proxy(self) -> Any:
        """All members as one, when everything has arrived."""
        self.network.run()
        return self._together

    @property
    def rendezvous(self) -> Any:
        """Where clients meet, in all members."""
        self.network.run()
        return self._rendezvous

    def makeClock(self) -> Clock:
        self.network = Network()
        return NetworkClock(self.network)

    def makePipe(self, peer: Any) -> Pipe:
        return ClientPipe(peer, self.network)

    def nextProxy(self) -> Any:
        return next(self._next)

    def assertHeldUp(self, sender: Any) -> None:
        """It is not read from, as soon as what is on the way to its partner fills the link."""
        sent = 0
        data = maskedFrame(2, FLOOD) if isWebSocket(sender) else FLOOD
        while sender.producerState != "paused":
            sender.receive(data)
            sent += len(data)
            self.assertLess(sent, WINDOW + 4 * READ_SIZE, "nothing holds it up")
        for node in self.nodes:
            for pipe in node.pipes:
                self.assertLessEqual(pipe.held, 2 * READ_SIZE)
