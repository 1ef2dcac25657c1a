"""Makes this process a member of a cluster: its directory, its links, and where they come in.

Owns which of these gets which setting, and that both sides know the secret of now. Knows nothing of
what members say to each other.
"""

from __future__ import annotations

import secrets
from itertools import chain, repeat
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.cluster.accepting import LinkFactory, listenLocally
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, SECRET_SIZE, Member
from nymearemoteproxy.cluster.figures import Figures, figuresOf
from nymearemoteproxy.cluster.identity import MemberIdentity
from nymearemoteproxy.cluster.linking import Linker, tcpAddress
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.cluster.redisdirectory import RedisDirectory
from nymearemoteproxy.cluster.shardeddirectory import ShardedDirectory
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.listening.listeners import close
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.running.configuration.bounds import linksOfOneMember
from nymearemoteproxy.running.configuration.clusterplan import ClusterPlan
from nymearemoteproxy.running.linkplace import listenForLinks, placeOf
from nymearemoteproxy.watching.company import Company

log = ProxyLogger()

THE_FIRSTS = b""
"""Of several directories the first one knows the secret of all."""

ANY_HOST = ("0.0.0.0", "::")


class Clustering:
    """The membership of one process.

    :param proxy: becomes a member's.
    :param at: host and port where links for it come in; None = `listen` will tell.
    :param neighbours: the directory for the sockets of links between the workers of a group.
    :ivar id: this member's.
    :ivar links: serves the links that come in from other machines.
    :ivar membership: what the process is then.
    :raises LinkError: its neighbours could not reach it.
    """

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy,
        plan: ClusterPlan,
        at: tuple[str, int] | None = None,
        neighbours: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._plan = plan
        self._at = at
        self.id = secrets.token_bytes(MEMBER_SIZE)
        # Until the cluster's is known nobody is let in.
        self._secret = plan.secret or secrets.token_bytes(SECRET_SIZE)
        identity = MemberIdentity(self._secret, self.id)
        timeout = plan.linkTimeout
        self._linker = Linker(reactor, identity, timeout, proxy.turns, neighbours)
        self.directory = self._makeDirectory()
        self.directory.follow(self._followSecret)
        self.membership = Membership(
            proxy, self.directory, self._linker, self.id, timeout, linksOfOneMember()
        )
        answerer = self.membership.answerer
        self.links = LinkFactory(reactor, answerer, identity, timeout, proxy.turns)
        self._hasJoined = False
        self._ports: list[IListeningPort] = []
        self._doors = [self.links]
        if neighbours is not None:
            local = LinkFactory(reactor, answerer)
            _path, port = listenLocally(reactor, neighbours, self.id, local)
            self._ports.append(port)
            self._doors.append(local)

    def _makeDirectory(self) -> RedisDirectory | ShardedDirectory:
        plan, describe = self._plan, self._describe
        first, *others = [
            RedisDirectory(self._reactor, url, describe, secret, timeout=plan.directoryTimeout)
            for url, secret in zip(
                plan.directories, chain((plan.secret,), repeat(THE_FIRSTS)), strict=False
            )
        ]
        return ShardedDirectory([first, *others]) if others else first

    def _followSecret(self) -> None:
        secret = self.directory.secret
        if secret is not None and secret != self._secret:
            self._secret = secret
            identity = MemberIdentity(secret, self.id)
            self._linker.identity = self.links.identity = identity

    def _describe(self, ownHost: str) -> Member:
        """Return this member as others are to see it.

        :param ownHost: of the connection to the directory.
        """
        assert self._at is not None
        host, port = self._plan.address or self._at
        if host in ANY_HOST:
            host = ownHost or "127.0.0.1"
        return Member(self.id, tcpAddress(host, port), VERSION, self._plan.name)

    def figures(self) -> Figures:
        """Return what goes on."""
        return figuresOf(self.membership, self.directory, self._doors)

    def company(self) -> Company:
        """Return what goes on, when this process is the only one here."""
        return Company(self.figures(), isClustered=True)

    def listen(self) -> None:
        """Let links of other machines come in here.

        :raises ListenerError: that cannot be.
        """
        port = listenForLinks(self._reactor, self._plan.listener, self.links)
        self._at = placeOf(port)
        self._ports.append(port)

    def start(self) -> None:
        """Join the others."""
        log.info(
            "member {member} of the cluster at {directory}, called {name}",
            event="cluster-member",
            member=self.id.hex(),
            directory=" ".join(map(str, self._plan.directories)),
            name=self._plan.name,
        )
        self._hasJoined = True
        self.directory.start()
        self.membership.start()

    @inlineCallbacks
    def stop(self) -> Any:
        """Leave them, when all clients are gone; also before anything was started."""
        self.membership.stop()
        if self._hasJoined:
            yield self.membership.places.leaveAll()
            yield self.directory.stop()
        for port in self._ports:
            yield close(port)
