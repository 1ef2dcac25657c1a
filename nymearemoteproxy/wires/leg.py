"""What the legs of a tunnel have in common, whatever their framing.

Owns back pressure, and the order in which a leg ends. Knows nothing of framing or of sessions.
There is one object per leg and tunnel, and an idle tunnel should cost little, so legs have slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.keepalive import IWatched
from nymearemoteproxy.connections.presence import IPresent
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import CLOSING, IClient, Record
from nymearemoteproxy.meeting.tunnel import NOBODY, ILeg, Tunnel
from nymearemoteproxy.meeting.wrappers import WrappedLeg
from nymearemoteproxy.protocol.frames import FIN, Frames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import State
from nymearemoteproxy.wires.tlstransport import IFarewellListener
from nymearemoteproxy.wires.transports import Linger, askTcp, isGivenUp

log = ProxyLogger()

_TUNNELED = State.TUNNELED.value
"""Kept, since looking it up takes two calls and each leg is asked once a second."""


def askTransport(proxy: Proxy, transport: Any) -> Callable[[], bool]:
    """Have the client's system show that it is there; see `IPresent.ask`."""
    return askTcp(transport, proxy.clock, proxy.policy.timing.ping, proxy.policy.timing.pingAnswer)


class TracedLeg(WrappedLeg):
    """Logs the shape of what passes to a leg: sizes and opcodes, never content."""

    def __init__(self, leg: ILeg, sender: Record) -> None:
        super().__init__(leg)
        self._sender = sender

    def sendBytes(self, data: bytes) -> None:
        self._trace(f"{len(data)} bytes")
        super().sendBytes(data)

    def sendFrames(self, frames: Frames) -> None:
        for header, payload in zip(frames[::2], frames[1::2], strict=True):
            opcode, last = header[0] & ~FIN, header[0] & FIN
            self._trace(f"opcode {opcode:x}, {len(payload)} bytes{', last' if last else ''}")
        super().sendFrames(frames)

    def _trace(self, shape: str) -> None:
        log.debug("connection {number} → {shape}", number=self._sender.number, shape=shape)


@implementer(IProtocol, IPushProducer, IFarewellListener, ILeg, IClient, IPresent, IWatched)
class Leg:
    """One side of a tunnel; a subclass adds the framing.

    It is the producer of its own transport: when the client does not take what it is sent, the
    partner is not read from.

    :ivar blocked: the client does not take what it was sent.
    :ivar unread: the client is not read from, since its partner is blocked.
    :ivar resumptions: how often reading has begun again.
    :ivar finished: the client was told goodbye; nothing more is sent to it.
    """

    __slots__ = (
        "transport",
        "proxy",
        "record",
        "linger",
        "partner",
        "blocked",
        "finished",
        "unread",
        "resumptions",
        "_tunnel",
    )

    transport: Any

    def __init__(self, proxy: Proxy, record: Record, linger: Linger) -> None:
        self.proxy = proxy
        self.record = record
        self.linger = linger
        self.partner: ILeg = NOBODY
        self.blocked = False
        self.finished = False
        self.unread = False
        self.resumptions = 0
        self._tunnel: Tunnel | None = None
        record.client = self

    @property
    def stage(self) -> str:
        """Whether the tunnel is up or is being closed."""
        return CLOSING if self.finished else _TUNNELED

    # What a subclass provides

    def dataReceived(self, data: bytes) -> None:
        """Relay it."""
        raise NotImplementedError

    def sendBytes(self, data: bytes) -> None:
        raise NotImplementedError

    def sendFrames(self, frames: Frames) -> None:
        raise NotImplementedError

    def sayGoodbye(self, outcome: Outcome) -> None:
        """Write what is held back, then the end."""
        raise NotImplementedError

    def holdsMore(self) -> bool:
        """True while something that was read waits for its turn to be relayed."""
        return False

    departure: Outcome
    """What it is when a client ends its connection without another word."""

    # The tunnel

    def enter(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        if not tunnel.isWhole:
            self.pauseReading()

    def open(self, partner: ILeg) -> None:
        self.proxy.registry.joined(self.record, partner.record)
        self.partner = self.watching(partner)
        self.resumeReading()
        self.proxy.keepalive.add(self)

    def watching(self, partner: ILeg) -> ILeg:
        """Return what stands for the partner in this tunnel: who is to see what it is sent."""
        return TracedLeg(partner, self.record) if self.proxy.policy.traceTraffic else partner

    def begin(self) -> None:
        self.transport.registerProducer(self, True)

    def pauseReading(self) -> None:
        self.unread = True
        self.transport.pauseProducing()

    def resumeReading(self) -> None:
        self.unread = False
        self.resumptions += 1
        self.readOn()

    def readOn(self) -> None:
        """The partner and the line of turns have nothing against reading from the client."""
        self.transport.resumeProducing()

    def finish(self, outcome: Outcome) -> None:
        if self.finished:
            return
        self.finished = True
        self.record.endsWith(outcome)
        self.transport.unregisterProducer()
        self.sayGoodbye(outcome)

    def partnerLost(self) -> None:
        self.partner = NOBODY
        self.linger.drop()
        self.resumeReading()

    def cutOff(self, outcome: Outcome) -> None:
        self._abortWith(outcome)

    def ended(self, outcome: Outcome) -> None:
        """The client will send nothing more, but may still take what the partner sends."""
        assert self._tunnel is not None
        self.record.endsWith(outcome)
        self._tunnel.ended(self)

    def left(self, outcome: Outcome) -> None:
        """The client will neither send nor take anything more."""
        self.record.endsWith(outcome)
        if self._tunnel is not None:
            tunnel, self._tunnel = self._tunnel, None
            tunnel.lost(self)
        self.partner = NOBODY

    def clientLeft(self) -> None:
        self.left(self.departure)
        self.linger.drop()

    # Events of the transport

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def connectionMade(self) -> None:
        """It was made long ago."""

    def connectionLost(self, reason: Failure) -> None:
        orderly = isinstance(reason.value, ConnectionDone)  # `check` would compare names
        self.finished = True
        self.linger.stop()
        self.proxy.keepalive.remove(self)
        self.transport.unregisterProducer()
        try:
            self.left(self.departure if orderly else Outcome.CONNECTION_LOST)
        finally:
            self.proxy.registry.ended(self.record)

    def pauseProducing(self) -> None:
        self.blocked = True
        self.partner.pauseReading()

    def resumeProducing(self) -> None:
        self.blocked = False
        self.partner.resumeReading()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` deals with it."""

    # Keepalive; a subclass that is not always deaf has pings

    def signsOfLife(self) -> int:
        return self.record.received + self.resumptions

    def isDeaf(self) -> bool:
        return True

    def checkTransport(self) -> None:
        if self.unread and isGivenUp(self.transport):
            self._abortWith(Outcome.CONNECTION_LOST)

    def ping(self) -> Callable[[], bool]:
        raise NotImplementedError

    def ask(self) -> Callable[[], bool]:
        return askTransport(self.proxy, self.transport)

    def pingTimedOut(self) -> None:
        self._abortWith(Outcome.PING_TIMEOUT)

    def _abortWith(self, outcome: Outcome) -> None:
        self.record.endsWith(outcome)
        self.abort()

    # The server

    def failed(self, failure: Failure) -> None:
        """A fault of ours: it costs this connection."""
        log.fault(self.record.number, failure)
        self._abortWith(Outcome.INTERNAL_ERROR)

    def dismiss(self, outcome: Outcome) -> None:
        partner = self.partner
        self.finish(outcome)
        partner.finish(outcome)
        self.left(outcome)
        self.partnerLost()

    def shutDown(self) -> None:
        partner = self.partner
        self.finish(Outcome.SHUTDOWN)
        self.partnerLost()
        partner.partnerLost()

    def abort(self) -> None:
        self.transport.abortConnection()
