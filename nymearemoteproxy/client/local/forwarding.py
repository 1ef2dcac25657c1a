"""A listening port whose connections each go through a proxy on their own.

Owns how many there may be, and how a connection and its tunnel are joined. Knows nothing of how the
proxy is reached, nor of who is at the other end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.connecting.reasons import whyLost
from nymearemoteproxy.client.connecting.retrying import Reports
from nymearemoteproxy.client.local.farend import FarEnd
from nymearemoteproxy.client.rules.errors import TunnelError, oneLine

SEND_BUFFER = 128 * 1024
"""Bytes that the kernel holds for a local program. With what it takes by itself, a program that
reads slowly would let it stand still for seconds, and a proxy takes that for a stuck client."""


class Forwarder(Factory):
    """Gives each local connection a tunnel of its own.

    :param clock: measures time.
    :param endpoint: makes a tunnel, and waits for one as long as that makes sense.
    :param reports: is told of what goes wrong.
    :param failed: called with the reason when no tunnel can be had and there never was one.
    :param mostConnections: how many there may be at a time, each with its tunnel.
    """

    noisy = False

    def __init__(
        self,
        clock: Any,
        endpoint: IStreamClientEndpoint,
        reports: Reports,
        failed: Callable[[Failure], None],
        mostConnections: int,
    ) -> None:
        self.clock = clock
        self.endpoint = endpoint
        self.reports = reports
        self._failed = failed
        self._mostConnections = mostConnections
        self._open = 0
        self._isCrowded = False
        self._hasWorked = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Accept a connection, or close it at once if there are too many."""
        if self._open >= self._mostConnections:
            if not self._isCrowded:
                self._isCrowded = True
                self.reports.trouble(
                    f"{self._mostConnections} connections are open, which is the most that the "
                    "limit of open files allows (ulimit -n)"
                )
            return None
        self._open += 1
        return _Near(self)

    def opened(self) -> None:
        """A connection has its tunnel."""
        self._hasWorked = True

    def closed(self) -> None:
        """A connection and its tunnel are gone."""
        self._open -= 1
        if self._open <= self._mostConnections // 2:
            self._isCrowded = False

    def notConnected(self, failure: Failure) -> None:
        """A connection gets no tunnel."""
        problem = failure.value
        if failure.check(CancelledError):
            return
        if self._hasWorked or (isinstance(problem, TunnelError) and problem.isTransient):
            self.reports.trouble(f"a connection is given up: {oneLine(problem)}")
        else:
            self._failed(failure)


@implementer(IHalfCloseableProtocol, IPushProducer)
class _Near(Protocol):
    """A local connection: nothing is read from it before its tunnel is up.

    As a producer it lets the partner be slow.
    """

    transport: Any
    _connecting: Deferred[Any]

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._far: _Far | None = None
        self._isLost = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.transport.pauseProducing()
        factory = Factory.forProtocol(lambda: _Far(self._forwarder.clock, self))
        factory.noisy = False
        self._connecting = self._forwarder.endpoint.connect(factory)
        self._connecting.addErrback(self._notConnected)

    def dataReceived(self, data: bytes) -> None:
        if self._far is not None:
            self._far.send(data)

    def readConnectionLost(self) -> None:
        if self._far is not None:
            self._far.transport.unregisterProducer()
            self._far.awaitSilence()

    def writeConnectionLost(self) -> None:
        """Never happens: we close both directions only."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isLost = True
        if self._far is not None:
            self._far.transport.unregisterProducer()
            self._far.transport.loseConnection()
        else:
            self._connecting.cancel()
            self._forwarder.closed()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The tunnel is being lost; `tunnelLost` follows."""

    def deliver(self, data: bytes) -> None:
        """The partner sent `data`."""
        self.transport.write(data)

    def tunnelUp(self, far: _Far) -> None:
        """Let both sides speak."""
        self._far = far
        self._forwarder.opened()
        self.transport.registerProducer(far, True)
        far.transport.registerProducer(self, True)
        self.transport.resumeProducing()

    def tunnelLost(self, reason: Failure, unencrypted: str | None) -> None:
        """Deliver what the partner sent, and close; see `FarEnd`."""
        self._far = None
        if unencrypted is not None:
            self._forwarder.reports.trouble(unencrypted)
        elif not reason.check(error.ConnectionDone):
            self._forwarder.reports.trouble(f"connection lost: {whyLost(reason)}")
        if self._isLost:
            self._forwarder.closed()
        else:
            self._close()

    def _notConnected(self, failure: Failure) -> None:
        self._forwarder.notConnected(failure)
        if not self._isLost:
            self._close()

    def _close(self) -> None:
        # While there is a producer, the transport would wait for what it still has to say.
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class _Far(FarEnd):
    """The end of a local connection's tunnel."""

    def __init__(self, clock: Any, near: _Near) -> None:
        super().__init__(clock)
        self._near = near

    def connectionMade(self) -> None:
        self._near.tunnelUp(self)

    def deliver(self, data: bytes) -> None:
        """The partner sent `data`."""
        self._near.deliver(data)

    def leave(self) -> None:
        """The partner has nothing to add."""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._near.tunnelLost(reason, self.unencrypted)
