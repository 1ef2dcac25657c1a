"""Members of a cluster in memory, on one clock, and the tests of one process with two of them."""

from __future__ import annotations

import itertools
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from nymearemoteproxy.cluster.directory import Member
from nymearemoteproxy.cluster.linking import LinkRefused
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.meeting.rendezvous import Rendezvous
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.protocol.session import PairingKeys
from nymearemoteproxy.wires.direct import READ_SIZE, DirectTransport
from tests.support.inmemory import InMemory, isWebSocket
from tests.support.memory import Pipe
from tests.support.memorydirectory import LeasedTable, MemoryDirectory
from tests.support.memorylinks import WINDOW, ClientPipe, LinkPipe, Network, NetworkClock
from tests.support.together import Together, numbered
from tests.support.wires import maskedFrame

FLOOD = bytes(READ_SIZE - 100)
"""As much as is read at a time, of a WebSocket client, too."""


class Linker:
    """Makes links in memory, for one member."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node

    def connect(self, member: Member, protocol: Any) -> Deferred[None]:
        node = self._world.nodes.get(member.id)
        if node is None:
            return fail(LinkRefused("nobody listens there"))
        here, there = LinkPipe(self._node), LinkPipe(node)
        here.other, there.other = there, here
        for pipe, end in ((there, node.membership.answerer(None)), (here, protocol)):
            pipe.protocol = direct = DirectTransport(end)
            direct.makeConnection(pipe)
        return succeed(None)


class Node:
    """One member.

    :ivar pipes: its ends of all links that there have been.
    """

    def __init__(self, world: World, number: int, proxy: Any) -> None:
        self.id = bytes([number]) * 16
        self.proxy = proxy
        self.network = world.network
        self.pipes: list[LinkPipe] = []
        me = Member(self.id, f"unix:/{number}", VERSION)
        self.directory = MemoryDirectory(world.table, me, world.clock, world.clock.seconds)
        self.membership = Membership(proxy, self.directory, Linker(world, self), self.id)
        self.directory.start()
        self.membership.start()


class World:
    """All members, and what they share."""

    def __init__(self, clock: Clock, network: Network) -> None:
        self.clock = clock
        self.network = network
        self.table = LeasedTable(clock.seconds)
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

    def makeProxies(self) -> None:
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

    def allProxies(self) -> list[Any]:
        return self.proxies

    def join(self, first: str, second: str, **params: str) -> tuple[Pipe, Pipe]:
        """Open a tunnel, over a link."""
        before = self.links()
        pipes = super().join(first, second, **params)
        self.assertEqual(self.links(), before + 2)
        return pipes

    def links(self) -> int:
        """Return how many links there are, counted at both ends."""
        self.network.run()
        links = [node.membership.links for node in self.nodes]
        return sum(each.incoming + each.outgoing for each in links)

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
