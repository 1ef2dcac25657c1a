"""What all connections to a proxy have in common, whatever their framing.

Owns the start, which TLS delays, what TCP is told, and what it means that the connection ends.
Knows nothing of framing, nor of the proxy's messages.
"""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from nymearemoteproxy.client.connecting.attempt import Attempt, IProxyConnection
from nymearemoteproxy.client.connecting.heartbeat import HEARTBEAT_INTERVAL
from nymearemoteproxy.client.connecting.reasons import FIRST_WORDS, meantScheme
from nymearemoteproxy.client.connecting.tunneltransport import TunnelTransport
from nymearemoteproxy.client.rules.errors import TunnelError

# TCP asks a proxy that has been silent for `HEARTBEAT_INTERVAL` this often, with so many seconds
# between, before it gives the connection up: within the minute after which the proxy gives up a
# server.
KEEPALIVE_PROBES = 3
KEEPALIVE_PROBE_INTERVAL = 10

MAX_UNSENT = 128 * 1024
"""Bytes that the kernel takes beyond what is on its way: what one client of a server is sent waits
behind what others are."""


@implementer(IProxyConnection)
class ProxyConnection:
    """What both kinds of connection to a proxy share: the start, which TLS delays, and the end."""

    transport: Any

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.tunnel: TunnelTransport | None = None
        self._said = b""
        self._isTls = False
        # Never two on one object: the wrapper of Twisted's endpoints passes on the last one only.
        alsoProvides(self, IHalfCloseableProtocol if attempt.check is None else IHandshakeListener)

    def begin(self) -> None:
        """Nothing may be sent to the server before this."""
        raise NotImplementedError

    def say(self, message: bytes) -> None:
        """Send a message of the control phase."""
        raise NotImplementedError

    def readConnectionLost(self) -> None:
        """The proxy closed its direction, on a plain stream."""
        if self.tunnel is None:
            self.transport.loseConnection()
        else:
            self.tunnel.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our direction is closed, as the tunnel's protocol wanted it."""
        if self.tunnel is not None:
            self.tunnel.writeConnectionLost()

    def connectionMade(self) -> None:
        """The connection is up, except for TLS."""
        self.attempt.connected(self)
        # Not by interface: Twisted 22.4's Unix sockets claim to be TCP.
        if self.attempt.route.url.scheme != "unix":
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            isPlain = self.attempt.check is None
            _tuneTcp((self.transport if isPlain else self.transport.transport).getHandle())
        if self.attempt.check is None:
            self.begin()

    def handshakeCompleted(self) -> None:
        """TLS is up."""
        assert self.attempt.check is not None
        try:
            self.attempt.check.checkServer(self.transport.getHandle())
        except TunnelError as problem:
            self.attempt.fail(problem)
        else:
            self._isTls = True
            self.begin()

    def controlReceived(self, data: bytes) -> bytes:
        """Pass `data` on to the control phase and return what follows it."""
        try:
            rest = self.attempt.control.receive(data)
        except TunnelError as problem:
            self.failed(problem)
            return b""
        if self.attempt.control.further:
            self.say(self.attempt.control.further)
            self.attempt.control.further = b""
        if self.attempt.control.waiting:
            self.attempt.accepted()
        return rest

    def heard(self, data: bytes) -> None:
        """Remember how the server began."""
        self._said = (self._said + data)[:FIRST_WORDS]

    def failed(self, problem: TunnelError) -> None:
        """There is no tunnel, perhaps since the server speaks something else than we do."""
        meant = ""
        if not self.attempt.route.isRight:
            meant = meantScheme(self.attempt.route.url.scheme, self._said, self._isTls)
        self.attempt.fail(TunnelError(f"{problem}{meant}", problem.isTransient))

    def refusal(self, words: str | None) -> TunnelError:
        """Return what it means that the server closed the connection instead of an answer.

        :param words: what it said about it, if anything.
        """
        how = f": {words}" if words else " without an answer"
        return TunnelError(f"the server closed the connection{how}", isTransient=True)

    def ended(self, reason: Failure, words: str | None) -> None:
        """The connection is gone: with `words` not in the way it should."""
        if self.tunnel is None:
            self.attempt.lost(self, reason, words)
        else:
            if isinstance(reason.value, SSL.Error) and self.attempt.check is not None:
                words = str(self.attempt.check.explain(reason.value))
            if words is not None:
                reason = Failure(error.ConnectionLost(words))
            self.tunnel.lost(reason)
            self.attempt.factory.doStop()


def _tuneTcp(handle: Any) -> None:
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, round(HEARTBEAT_INTERVAL))
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_PROBE_INTERVAL)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
