"""How a tunnel that is joined to something near by comes to its end.

Owns how long the partner is listened to when we have nothing more to say, and that one is left
which wants encryption from end to end where we have none. Knows nothing of what is near by:
standard input and output, or a local connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.rules.endtoend import (
    CALLING_OPTIONS,
    FIRST_WORDS,
    REFUSAL,
    SERVING_OPTION,
    asksForEncryption,
    isRefused,
    isUnfinished,
)

SILENCE = 1.0
"""Seconds. What the partner still has on its way after the end of our input has come by then,
unless it pauses; and nobody minds waiting that long."""


@implementer(IPushProducer)
class FarEnd(Protocol):
    """A tunnel's protocol: passes on what comes, and leaves when our side and the partner are done.

    The end of our side's input does not end the tunnel at once, since most transports can only
    close both ways: it is left when the partner has been silent for `SILENCE`.

    As a producer it lets what is near by be slow.

    :ivar unencrypted: what is missing here, in one line, if the partner wants encryption.
    """

    transport: Any

    def __init__(self, clock: Any) -> None:
        self.unencrypted: str | None = None
        self._clock = clock
        self._said = b""
        # How the partner began, until there is no doubt that it speaks what we do.
        self._first: bytes | None = b""
        self._hasHeard = False
        self._isPaused = False
        self._timer: IDelayedCall | None = None

    def deliver(self, data: bytes) -> None:
        """Hand on what the partner sent."""
        raise NotImplementedError

    def leave(self) -> None:
        """The partner has been silent since our side's input ended."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send the partner what is near by."""
        if not self._said:
            self._said = data[:FIRST_WORDS]
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self._hasHeard = True
        if self._first is not None:
            data = self._first + data
            self._first = data if isUnfinished(data) else None
            if self._first is not None:
                return
            self.unencrypted = self._misses(data)
        if self.unencrypted is not None:
            return
        self.deliver(data)

    def _misses(self, first: bytes) -> str | None:
        """Return what is missing here for a partner that begins like this, and leave it if so."""
        if isRefused(self._said, first):
            return f"the far end is encrypted from end to end: give {CALLING_OPTIONS}"
        if asksForEncryption(first):
            self.transport.write(REFUSAL)
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return f"the partner wants encryption from end to end: give {SERVING_OPTION}"
        return None

    def awaitSilence(self) -> None:
        """Our side's input is at its end: call `leave` when the partner has nothing to add."""
        self._hasHeard = False
        self._timer = self._clock.callLater(SILENCE, self._silenceOver)

    def _silenceOver(self) -> None:
        self._timer = None
        if self._hasHeard or self._isPaused:
            self.awaitSilence()
        else:
            self.leave()

    def pauseProducing(self) -> None:
        self._isPaused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._isPaused = False
        self._hasHeard = True
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.stopProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._first:
            self.deliver(self._first)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
