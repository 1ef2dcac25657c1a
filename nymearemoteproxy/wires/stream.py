"""TCP, TLS and Unix stream clients: a byte stream of JSON objects, then of payload.

Owns the framing of streams on both sides of the moment a tunnel begins. Knows nothing of
WebSocket beyond the payload of its frames.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.delays import Delay
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.jsonrpc import MessageSplitter
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import StartTunnel
from nymearemoteproxy.wires.control import Control
from nymearemoteproxy.wires.leg import Leg, askTransport
from nymearemoteproxy.wires.limited import Limited, hasLimits
from nymearemoteproxy.wires.transports import Linger

LINE_END_TIMEOUT = 1.0
"""Seconds from the tunnel's beginning in which a bare line end still belongs to the request."""


@implementer(IHalfCloseableProtocol)
class StreamControl(Control):
    """A stream client before its tunnel."""

    def __init__(self, proxy: Proxy, record: Record) -> None:
        super().__init__(proxy, record)
        self._splitter = MessageSplitter(proxy.policy.messageLimit)
        self._inputEnded = False
        self._rest = b""

    def feed(self, data: bytes) -> None:
        self._splitter.feed(data)

    def take(self) -> bytes | None:
        return self._splitter.take()

    def holdsData(self) -> bool:
        self._splitter.skipWhiteSpace()
        return self._splitter.pending > 0

    def framed(self, message: bytes) -> bytes:
        return message

    def sayGoodbye(self, outcome: Outcome) -> None:
        if self._inputEnded:
            self.transport.loseConnection()
        else:
            self.linger.stopSending()

    def makeLeg(self, start: StartTunnel) -> Leg:
        gap = self.proxy.policy.timing.notificationGap if start.needsGap else 0.0
        self._rest = self._splitter.rest()
        lineEndDue = self._splitter.lineEndDue and not self._rest
        legClass = LimitedStreamLeg if hasLimits(self.proxy, start.role) else StreamLeg
        return legClass(self.proxy, self.record, self.linger, gap, lineEndDue)

    def handOver(self, leg: Leg) -> None:
        if self._rest:
            self.record.received -= len(self._rest)  # counted there
            leg.dataReceived(self._rest)

    def ask(self) -> Callable[[], bool]:
        return askTransport(self.proxy, self.transport)

    def readConnectionLost(self) -> None:
        """The client closed its sending direction: it may still want its answers."""
        self._inputEnded = True
        if self._closing:
            self.transport.loseConnection()
        else:
            self.perform(self.session.gone())

    def writeConnectionLost(self) -> None:
        """Our end of the stream is sent."""


class VisitorLeg(Leg):
    """A visitor in its tunnel: all it sends is for the home, and when that ends it has left.

    Its home is told so then, and sends it nothing more, so that there is nothing to wait for.
    """

    __slots__ = ()

    departure = Outcome.CLIENT_LEFT

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        self.partner.sendBytes(data)

    def sendBytes(self, data: bytes) -> None:
        self.record.sent += len(data)
        self.transport.write(data)

    def sendFrames(self, frames: Frames) -> None:
        self.sendBytes(b"".join(frames[1::2]))

    def sayGoodbye(self, outcome: Outcome) -> None:
        self.linger.stopSending()


class LimitedVisitorLeg(Limited, VisitorLeg):
    """The same in a tunnel that has limits."""


@implementer(IHalfCloseableProtocol)
class StreamLeg(Leg):
    """A stream client in its tunnel.

    :param gap: seconds to wait behind our last message before anything else is sent. The partner is
        paused meanwhile; what an end of the tunnel proxy has to say all the same is held.
    :param lineEndDue: the line end of the client's last request has not come yet. Clients that
        send it by itself do so at once, so it can only be the whole of the first read, and only
        for `LINE_END_TIMEOUT`.
    """

    __slots__ = ("_gap", "_gapTimer", "_held", "_lineEndUntil", "_inputEnded")

    departure = Outcome.CLIENT_LEFT

    def __init__(
        self, proxy: Proxy, record: Record, linger: Linger, gap: float, lineEndDue: bool
    ) -> None:
        super().__init__(proxy, record, linger)
        self._gap = gap
        self._gapTimer: Delay | None = None
        self._held: list[bytes] | None = [] if gap else None
        self._lineEndUntil = proxy.waking.seconds() + LINE_END_TIMEOUT if lineEndDue else None
        self._inputEnded = False

    def begin(self) -> None:
        super().begin()
        if self._gap and not self.blocked:
            self.pauseProducing()
            self.resumeProducing()

    def resumeProducing(self) -> None:
        if self._gap:
            # Our last message has left our buffers: the gap begins.
            self._gapTimer = self.proxy.delays.start(self._gap, self._gapOver)
            self._gap = 0.0
        else:
            super().resumeProducing()

    def _gapOver(self) -> None:
        self._gapTimer = None
        super().resumeProducing()
        self._release()  # which may block the client again

    def _release(self) -> None:
        """Nothing has to wait any more."""
        held, self._held = self._held, None
        if held:
            self.sendBytes(b"".join(held))

    def _stopGap(self) -> None:
        self._gap = 0.0
        if self._gapTimer is not None:
            self._gapTimer.remove(self._gapOver)
            self._gapTimer = None

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        if self._lineEndUntil is not None:
            inTime = self.proxy.waking.seconds() < self._lineEndUntil
            self._lineEndUntil = None
            if inTime and data in (b"\n", b"\r\n"):
                return
        self.partner.sendBytes(data)

    def sendBytes(self, data: bytes) -> None:
        if self._held is not None:
            self._held.append(data)
            return
        self.record.sent += len(data)
        self.transport.write(data)

    def sendFrames(self, frames: Frames) -> None:
        self.sendBytes(b"".join(frames[1::2]))

    def sayGoodbye(self, outcome: Outcome) -> None:
        self._stopGap()
        self._release()
        if self._inputEnded:
            self.linger.close()
        else:
            self.linger.stopSending()

    def readConnectionLost(self) -> None:
        """The client closed its sending direction; it may still be reading."""
        self._inputEnded = True
        if self.finished:
            self.linger.close()
        else:
            self.ended(Outcome.CLIENT_LEFT)

    def writeConnectionLost(self) -> None:
        """Our end of the stream is sent."""

    def connectionLost(self, reason: Failure) -> None:
        self._stopGap()
        super().connectionLost(reason)


class LimitedStreamLeg(Limited, StreamLeg):
    """The same in a tunnel that has limits."""
