"""What the parent and a worker say to each other: a stream of messages, both ways.

Owns how a message is written, and how much may wait for the other side. Knows nothing of what the
messages mean.

A message is a JSON array in one line; its first item says what it is. Those of one turn of the
reactor are written together, and those that came with one read are decoded together, for what a
call of each costs is more than what a message does.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger

log = ProxyLogger()

Message = Sequence[Any]

MOST_WAITING = 256 << 20
"""Bytes that may wait for the other side. Files are the most of it, of 16 MiB each; whoever has so
much waiting for it does not read any more."""

LITTLE = 1 << 20
"""Bytes; with more waiting, what is not needed is left out."""

LONGEST = MOST_WAITING
"""Bytes of one message."""

READ_SIZE = 8 << 10
"""Bytes that are read at a time: some forty messages, of which each may have its line of log."""

AT_ONCE = 64 << 10
"""Bytes, or some more, that the transport is given at a time."""

NEWLINE = b"\n"

_encode = json.JSONEncoder(check_circular=False).encode


@implementer(IPushProducer)
class MessageChannel(Protocol):
    """One end.

    :param clock: has what was said in one turn of the reactor written in the next one.
    :param received: is given each message.
    :param lost: is called when the other end is gone, or was given up.
    :ivar waiting: bytes that the other side has not taken.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        received: Callable[[Message], object],
        lost: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._received = received
        self._lost = lost
        self._parts: list[bytes] = []
        self._size = 0
        self._queue: deque[bytes] = deque()
        self._writing: IDelayedCall | None = None
        self._paused = False
        self._finishing = False
        self._isOpen = False
        self.waiting = 0

    @property
    def isBusy(self) -> bool:
        """True while so much waits that what is not needed should be left out."""
        return self.waiting > LITTLE

    def connectionMade(self) -> None:
        self._isOpen = True
        self.transport.bufferSize = READ_SIZE
        self.transport.registerProducer(self, True)

    def send(self, message: Message) -> None:
        """Have a message sent, after all that was before."""
        if not self._isOpen or self._finishing:
            return
        line = _encode(message).encode() + NEWLINE
        self._queue.append(line)
        self.waiting += len(line)
        if self.waiting > MOST_WAITING:
            log.error("a process of this server does not read what it is told: it is given up")
            self.transport.abortConnection()
        elif self._writing is None and not self._paused:
            self._writing = self._clock.callLater(0, self._write)

    def _write(self) -> None:
        self._writing = None
        while self._queue and not self._paused:
            lines, size = [], 0
            while self._queue and size < AT_ONCE:
                line = self._queue.popleft()
                lines.append(line)
                size += len(line)
            self.waiting -= size
            self.transport.write(b"".join(lines))

    def _writeNow(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        self._write()

    def finish(self) -> None:
        """Close this end when all is sent."""
        self._finishing = True
        self._writeNow()
        if not self._paused:
            self._close()

    def _close(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._writeNow()
        if self._finishing and not self._paused:
            self._close()

    def stopProducing(self) -> None:
        """The other end is gone; `connectionLost` follows."""

    def dataReceived(self, data: bytes) -> None:
        *lines, rest = data.split(NEWLINE)
        whole = b""
        if lines:
            whole = b",".join([b"".join([*self._parts, lines[0]]), *lines[1:]])
            self._parts, self._size = [], 0
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > LONGEST:
            self.transport.abortConnection()
        for message in json.loads(f"[{whole.decode()}]"):
            self._received(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isOpen = False
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        self._queue.clear()
        self.waiting = 0
        self._lost()
