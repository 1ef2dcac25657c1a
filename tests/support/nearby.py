"""Connections and endpoints in memory, for the tests of the client's command-line ends."""

from __future__ import annotations

import itertools
import socket
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from nymearemoteproxy.client.rules.controlphase import Partner

_times = itertools.count()


class Line(StringTransport):
    """A transport whose owner says when it is lost and when it is full.

    :ivar partner: who a tunnel leads to, for those that know it.
    :ivar full: nothing more is taken: who writes is paused with every write, as Twisted does.
    :ivar resets: closing it resets it.
    :ivar resumed: who was resumed earlier has a lower one.
    """

    def __init__(self, protocol: Any, host: IAddress | None = None) -> None:
        super().__init__(hostAddress=host)
        self.protocol = protocol
        self.partner = Partner("", "")
        self.full = False
        self.isLost = False
        self.aborted = False
        self.resets = False
        self.resumed = next(_times)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.resumed = next(_times)

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.full and self.producer is not None:
            self.producer.pauseProducing()

    def take(self) -> bytes:
        """Return what was written, and forget it."""
        data = self.value()
        self.clear()
        return data

    def drain(self) -> None:
        """Everything has been taken."""
        self.full = False
        self.producer.resumeProducing()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to set."""

    def getHandle(self) -> Line:
        """Return what stands for the socket."""
        return self

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """Whether a close is to be a reset."""
        lingers = struct.pack("ii", 1, 0)
        self.resets = (level, option, value) == (socket.SOL_SOCKET, socket.SO_LINGER, lingers)

    def unregisterProducer(self) -> None:
        self.producer = None

    def abortConnection(self) -> None:
        self.aborted = True
        self.lose(ConnectionAborted())

    def lose(self, reason: Exception | None = None) -> None:
        """The connection ends, once."""
        if not self.isLost:
            self.isLost = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def isPaused(self) -> bool:
        return self.producerState == "paused"


class Endpoint:
    """A client endpoint whose attempts end as a test says.

    :ivar attempts: the factory and the Deferred of each attempt.
    :ivar cancelled: how many attempts were cancelled.
    :ivar whenCancelled: how these end; None = as usual.
    """

    whenCancelled: Exception | None = None

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, Deferred[Any]]] = []
        self.cancelled = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        def cancel(attempt: Deferred[Any]) -> None:
            self.cancelled += 1
            if self.whenCancelled is not None:
                attempt.errback(Failure(self.whenCancelled))

        deferred: Deferred[Any] = Deferred(cancel)
        self.attempts.append((factory, deferred))
        return deferred

    def succeed(self, at: int = -1, host: IAddress | None = None) -> Line:
        """Let an attempt succeed."""
        factory, deferred = self.attempts[at]
        protocol = factory.buildProtocol(None)
        line = Line(protocol, host)
        protocol.makeConnection(line)
        deferred.callback(protocol)
        return line

    def fail(self, problem: Exception, at: int = -1) -> None:
        """Let an attempt fail."""
        self.attempts[at][1].errback(Failure(problem))
