"""One client's connection to the local service.

Owns what waits for that service. Knows nothing of SLIP, addresses or the proxy.
"""

from __future__ import annotations

import socket
import struct
import typing
from collections import deque
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

PIECE = 64 * 1024
"""Bytes written at once: what Twisted's transports buffer before they pause a producer, so that a
pause comes soon and a service that takes little is seen to take something."""

LINGER = 60.0
"""Seconds without any progress that a service has for what came before its client left. Nobody
waits for it any more, but a disk may have to spin up."""

_RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: with this a close is a reset, once Twisted has written what waits (socket(7))."""


@dataclass(frozen=True)
class Destination:
    """Where a service is.

    :ivar endpoint: connects to it.
    :ivar where: its address, for people.
    """

    endpoint: IStreamClientEndpoint
    where: str


class Owner(typing.Protocol):
    """What a local connection belongs to."""

    def waits(self, local: Any, change: int) -> None:
        """`change` bytes more wait for the service."""

    def sent(self, local: Any, data: bytes) -> None:
        """The service sent `data`."""

    def gone(self, local: Any, failure: Failure | None) -> None:
        """The connection is closed; with `failure` there never was one."""


@implementer(IPushProducer)
class LocalConnection(Protocol):
    """What a client sends is delivered in order, kept while the service is not ready for it.

    :param opening: what the service is told before the client's first byte.
    :ivar queued: how many bytes wait, without what the transport has taken already.
    :ivar since: when the service last took some of what waits.
    :ivar where: the service's address, for people.
    """

    transport: Any
    _connecting: Deferred[Any]

    def __init__(self, clock: Any, owner: Owner, opening: bytes) -> None:
        self.where = ""
        self.queued = 0
        self.since = 0.0
        self._clock = clock
        self._owner = owner
        self._opening = opening
        self._isHeld = False
        self._isUp = False
        self._isFull = False
        self._isFinishing = False
        self._isWhole = True
        self._queue: deque[bytes] = deque()
        self._timer: Any = None

    def connect(self, destination: Destination) -> None:
        """Connect to the service."""
        self._connecting = self._reach(destination)
        self._connecting.addErrback(self._gone)

    def _reach(self, destination: Destination) -> Deferred[Any]:
        self.where = destination.where
        factory = Factory.forProtocol(lambda: self)
        factory.noisy = False
        return destination.endpoint.connect(factory)

    def deliver(self, data: bytes) -> None:
        """Send `data` to the service when it takes it."""
        if not self._queue:
            self.since = self._clock.seconds()
        self._queue.extend(data[i : i + PIECE] for i in range(0, len(data), PIECE))
        self._pump(len(data))

    def finish(self, isWhole: bool = True) -> None:
        """Nothing will follow: close when all has been delivered.

        :param isWhole: the client has said so itself. Otherwise the service's connection is reset,
            so that it does not take for a whole what was cut off; a Unix socket has no reset.
        """
        self._isFinishing = True
        self._isWhole = isWhole
        self.since = self._clock.seconds()
        self._timer = self._clock.callLater(LINGER, self._lingered)
        self.release()
        if self._isUp:
            self._pump()
        elif not self._queue:
            self._connecting.cancel()

    def cut(self) -> None:
        """Close at once; what waits is lost."""
        if self._isUp:
            self.transport.abortConnection()
        else:
            self._connecting.cancel()

    def hold(self) -> None:
        """Read nothing from the service until `release`."""
        self._isHeld = True
        if self._isUp:
            self.transport.pauseProducing()

    def release(self) -> None:
        """Read from the service again."""
        self._isHeld = False
        if self._isUp:
            self.transport.resumeProducing()

    def connectionMade(self) -> None:
        self._isUp = True
        self.since = self._clock.seconds()
        if not isinstance(self.transport.getHost(), UNIXAddress):
            self.transport.setTcpNoDelay(True)
        self.transport.write(self._opening)
        self.transport.registerProducer(self, True)
        if self._isHeld:
            self.transport.pauseProducing()
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        self._owner.sent(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isUp = False
        self._gone(None)

    def pauseProducing(self) -> None:
        self._isFull = True

    def resumeProducing(self) -> None:
        self._isFull = False
        self.since = self._clock.seconds()
        self._pump()

    def stopProducing(self) -> None:
        """The connection is being lost; `connectionLost` follows."""

    def _pump(self, change: int = 0) -> None:
        """Write what the service takes; `change` bytes are new in the queue."""
        while self._queue and self._isUp and not self._isFull:
            piece = self._queue.popleft()
            change -= len(piece)
            self.transport.write(piece)
        if change:
            self._waits(change)
        if self._isFinishing and not self._queue and self._isUp:
            # While there is a producer, the transport would wait for what it still has to say.
            self.transport.unregisterProducer()
            if not self._isWhole:
                self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.loseConnection()

    def _waits(self, change: int) -> None:
        self.queued += change
        self._owner.waits(self, change)

    def _lingered(self) -> None:
        left = self.since + LINGER - self._clock.seconds()
        self._timer = None
        if left > 0:
            self._timer = self._clock.callLater(left, self._lingered)
        else:
            self.cut()

    def _gone(self, failure: Failure | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queue.clear()
        self._owner.gone(self, failure)
        self._waits(-self.queued)
