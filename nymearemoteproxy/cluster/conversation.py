"""A link as long as lines are said on it.

Owns where a line ends, and one timer. Knows nothing of what the lines say.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.protocol.linkmessages import Answer, Ask, LineReader
from nymearemoteproxy.protocol.linkrecords import LinkFault


class Conversation(Protocol):
    """One end of it."""

    transport: Any

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lines = LineReader()
        self._timer: IDelayedCall | None = None

    @property
    def isOver(self) -> bool:
        """True when no line is read any more; what follows is the `rest`."""
        return False

    def say(self, line: Ask | Answer) -> None:
        """Send a line.

        :raises LinkFault: it is too long.
        """
        self.transport.write(line.encode())

    def dataReceived(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while not self.isOver and (line := self._lines.take()) is not None:
                self.lineReceived(line)
        except LinkFault as fault:
            self.faultReceived(fault)

    def lineReceived(self, line: bytes) -> None:
        """The other side has said a line.

        :raises LinkFault: it should not have.
        """
        raise NotImplementedError

    def faultReceived(self, fault: LinkFault) -> None:
        """The other side does not keep to the rules."""
        self.abort()

    def rest(self) -> bytes:
        """Return, once, what has arrived behind the lines that were read."""
        return self._lines.rest()

    def setTimer(self, seconds: float, act: Any, *arguments: Any) -> None:
        """Have something called; replaces what was to be called before."""
        self.clearTimer()
        self._timer = self._clock.callLater(seconds, act, *arguments)

    def prolong(self, seconds: float) -> None:
        """Have it called so many seconds from now."""
        assert self._timer is not None
        self._timer.reset(seconds)

    def clearTimer(self) -> None:
        """Have nothing called any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def abort(self) -> None:
        """There is nothing more to be said."""
        self.clearTimer()
        if self.transport is not None:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.clearTimer()
