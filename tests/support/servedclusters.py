"""Members of a cluster in this process, on real sockets: those of clients, and those of links."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import inlineCallbacks

from nymearemoteproxy.cluster.accepting import LinkFactory, listenLocally
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, Member
from nymearemoteproxy.cluster.identity import MemberIdentity
from nymearemoteproxy.cluster.linking import Linker, tcpAddress, unixAddress
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.protocol.session import PairingKeys
from tests.support.endtoend import PATIENCE
from tests.support.memorydirectory import LeasedTable, MemoryDirectory
from tests.support.served import Served
from tests.support.together import Together, numbered
from tests.support.wires import Connector, Inline, reactor


class NodeConnector(Connector):
    """Opens each wire to the next of several proxies."""

    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        super().__init__(nodes[0])
        self._nodes = itertools.cycle(nodes)

    def connect(self, transport: str, opcode: int = 1) -> Any:
        self.addresses = next(self._nodes)
        return super().connect(transport, opcode)


class LinkedByUnix:
    """Links within a machine."""

    def link(self, id: bytes) -> tuple[Linker, str, Any]:
        """Return what makes a member's links, its address, and what takes them."""
        factory = LinkFactory(reactor, None, timeout=PATIENCE)
        directory = tempfile.mkdtemp()  # trial's own are too deep for a Unix socket
        self.directories.append(directory)
        path, port = listenLocally(reactor, directory, id, factory)
        self.linkPorts.append(port)
        return Linker(reactor, timeout=PATIENCE), unixAddress(path), factory


class LinkedByTls:
    """Links between machines."""

    secret = b"the secret of the cluster"

    def link(self, id: bytes) -> tuple[Linker, str, Any]:
        """Return what makes a member's links, its address, and what takes them."""
        identity = MemberIdentity(self.secret, id)
        factory = LinkFactory(reactor, None, identity, PATIENCE)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.linkPorts.append(port)
        address = tcpAddress("127.0.0.1", port.getHost().port)
        return Linker(reactor, identity, timeout=PATIENCE), address, factory


class ServedInCluster(Served):
    """Two members; clients come to them in turn, so that partners are in different ones.

    The tests see both as one: what is counted is the sum, connections are numbered over both.

    :cvar memberCount: how many members there are.
    """

    memberCount = 2

    def start(self) -> None:
        proxies = [self.makeProxy() for _ in range(self.memberCount)]
        self.proxy = Together(proxies)
        self.rendezvous = Together([proxy.rendezvous for proxy in proxies])
        if self.terms is not None:
            self.switchboard = Together([proxy.switchboard for proxy in proxies])
        else:
            self.switchboard = None
        numbers = itertools.count()
        self.linkPorts: list[Any] = []
        self.directories: list[str] = []
        table = LeasedTable()
        self.members = [self._join(proxy, table, numbers) for proxy in proxies]
        self.connector = NodeConnector([self.listen(proxy) for proxy in proxies])

    def _join(self, proxy: Any, table: LeasedTable, numbers: Iterator[int]) -> Membership:
        proxy._keys = PairingKeys(self.bySubject, secret=b"")
        proxy.registry.admit = numbered(proxy.registry, numbers)
        id = os.urandom(MEMBER_SIZE)
        linker, address, factory = self.link(id)
        directory = MemoryDirectory(table, Member(id, address, VERSION), reactor)
        # All of them, and all clients, are one process here, which may have much to do.
        membership = Membership(proxy, directory, linker, id, timeout=PATIENCE)
        factory.build = membership.answerer
        directory.start()
        membership.start()
        return membership

    def link(self, id: bytes) -> tuple[Linker, str, Any]:
        """Return what makes a member's links, its address, and what takes them."""
        raise NotImplementedError

    @inlineCallbacks
    def tunnel(self, first: str, second: str, opcode: int = 2) -> Inline:
        """Open a tunnel, over a link."""
        before = self.links()
        wires = yield super().tunnel(first, second, opcode)
        self.assertEqual(self.links(), before + 2)
        return wires

    def links(self) -> int:
        """Return how many links there are, counted at both ends."""
        return sum(member.links.incoming + member.links.outgoing for member in self.members)

    @inlineCallbacks
    def stop(self) -> Inline:
        yield self.eventually(lambda: not self.links())
        for member in self.members:
            self.assertEqual((member.places.held, member.places.unlisted), (0, 0))
            member.stop()
            yield member._directory.stop()
        for port in self.linkPorts:
            yield port.stopListening()
        for directory in self.directories:
            shutil.rmtree(directory)
