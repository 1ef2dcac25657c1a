"""Makes this process a member of a cluster: its directory, its links, and where they come in.

Owns which of these gets which setting, and that both sides know the secret of now. Knows nothing of
what members say to each other.
"""

from __future__ import annotations

import secrets
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.interfaces import IListeningPort

from nymearemoteproxy.cluster.accepting import LinkFactory
from nymearemoteproxy.cluster.directory import MEMBER_SIZE, Member
from nymearemoteproxy.cluster.identity import MemberIdentity
from nymearemoteproxy.cluster.linking import Linker, tcpAddress
from nymearemoteproxy.cluster.membership import Membership
from nymearemoteproxy.cluster.redisdirectory import RedisDirectory
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.listening.listeners import close, listen
from nymearemoteproxy.protocol.linkmessages import VERSION
from nymearemoteproxy.running.configuration.clusterplan import ClusterPlan

log = ProxyLogger()

SECRET_SIZE = 32
"""Bytes of a secret that nobody else has."""

ANY_HOST = ("0.0.0.0", "::")


class Clustering:
    """The membership of one process.

    :param proxy: becomes a member's.
    :ivar membership: what it is then.
    """

    def __init__(self, reactor: Any, proxy: Proxy, plan: ClusterPlan) -> None:
        self._reactor = reactor
        self._plan = plan
        self._id = secrets.token_bytes(MEMBER_SIZE)
        # Until the cluster's is known nobody is let in.
        self._secret = plan.secret or secrets.token_bytes(SECRET_SIZE)
        identity = MemberIdentity(self._secret, self._id)
        self._linker = Linker(reactor, identity, plan.linkTimeout, proxy.turns)
        self.directory = RedisDirectory(
            reactor,
            plan.directories[0],
            self._describe,
            plan.secret,
            timeout=plan.directoryTimeout,
        )
        self.directory.follow(self._followSecret)
        self.membership = Membership(
            proxy, self.directory, self._linker, self._id, plan.linkTimeout
        )
        self._links = LinkFactory(
            reactor, self.membership.answerer, identity, plan.linkTimeout, proxy.turns
        )
        self._port: IListeningPort | None = None

    def _followSecret(self) -> None:
        secret = self.directory.secret
        if secret is not None and secret != self._secret:
            self._secret = secret
            identity = MemberIdentity(secret, self._id)
            self._linker.identity = self._links.identity = identity

    def _describe(self, ownHost: str) -> Member:
        """Return this member as others are to see it.

        :param ownHost: of the connection to the directory.
        """
        assert self._port is not None
        at: Any = self._port.getHost()
        host, port = self._plan.address or (at.host, at.port)
        if host in ANY_HOST:
            host = ownHost or "127.0.0.1"
        return Member(self._id, tcpAddress(host, port), VERSION, self._plan.name)

    def listen(self) -> None:
        """Let links of other members come in.

        :raises ListenerError: that cannot be.
        """
        listener = self._plan.listener
        endpoint = listener.endpoint(self._reactor)
        self._port = listen(listener.description, endpoint, self._links)

    def start(self) -> None:
        """Join the others."""
        log.info(
            "member {member} of the cluster at {directory}, called {name}",
            event="cluster-member",
            member=self._id.hex(),
            directory=self.directory.url,
            name=self._plan.name,
        )
        self.directory.start()
        self.membership.start()

    @inlineCallbacks
    def stop(self) -> Any:
        """Leave them, when all clients are gone."""
        self.membership.stop()
        yield self.directory.stop()
        if self._port is not None:
            yield close(self._port)
