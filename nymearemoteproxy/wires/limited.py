"""The limits of one tunnel, as the leg of a client keeps them: rates, silence and age.

Owns when a limit is reached, and the pauses that keep a rate. Knows nothing of framing. A tunnel
without limits has legs of another class, so that it pays nothing for them.

Theory of operation
-------------------

A rate is kept by reading: what a read brought is taken from the buckets, whatever it is, and the
client is not read from until those have made up for it. Little is read at a time, so that a pause
is short. The client's TCP window does the rest, as with a partner that is slow.

There are three reasons not to read: the partner is blocked (`Leg.unread`), what was read before
waits for its turn (`Leg.holdsMore`), and the pause. Each of them ends by itself, and reading goes
on when none is left: `Leg.readOn` is called when the first two are over, and waits for the third.

Whose partner is lost is read without pauses: what it still sends is dropped, and has to be, before
the connection can be closed.
"""

from __future__ import annotations

import math
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from nymearemoteproxy.common.rates import BURST, ByteBucket, portion
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.meeting.wrappers import MeteredLeg, sizeOf
from nymearemoteproxy.protocol.frames import Frames
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.wires.leg import Leg
from nymearemoteproxy.wires.transports import Linger

SHARED_PORTION = BURST / 10
"""Seconds of the rate of all tunnels together that are read at a time. Those who want to go on wait
for each other, so the less it is, the shorter is the wait of each."""


def hasLimits(proxy: Proxy, role: Role) -> bool:
    """Tell whether a tunnel that begins has any.

    :param role: of the client in it. A registered server relays for many tunnels, so only what all
        share is taken from.
    """
    limits = proxy.policy.tunnels
    ofItsOwn = limits.rate or limits.idleTimeout or limits.maxAge
    return proxy.totalRate is not None or bool(ofItsOwn and role is not Role.SERVER)


class Limited(Leg):
    """Keeps the limits; to be mixed into a leg."""

    def __init__(self, proxy: Proxy, record: Record, linger: Linger, *more: Any) -> None:
        super().__init__(proxy, record, linger, *more)
        limits, now = proxy.policy.tunnels, proxy.waking.seconds()
        ownRate, maxAge, self._idleTimeout = limits.rate, limits.maxAge, limits.idleTimeout
        if record.role is Role.SERVER:
            ownRate = maxAge = self._idleTimeout = 0
        own = (ByteBucket(proxy.clock, ownRate),) if ownRate else ()
        shared = () if proxy.totalRate is None else (proxy.totalRate,)
        self._buckets: tuple[ByteBucket, ...] = own + shared
        self._endsAt = now + maxAge if maxAge else math.inf
        self._relayedAt = now
        self._pause: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        shared = self.proxy.totalRate
        for bucket in self._buckets:
            seconds = SHARED_PORTION if bucket is shared else BURST
            transport.lowest.readAtMost(portion(bucket.rate, seconds))

    def watching(self, partner: ILeg) -> ILeg:
        self._relayedAt = self.proxy.waking.seconds()
        self._lookAtTime()
        return MeteredLeg(super().watching(partner), self._relayed)

    # What is relayed

    def sendBytes(self, data: bytes) -> None:
        self._relayed(len(data))
        super().sendBytes(data)

    def sendFrames(self, frames: Frames) -> None:
        self._relayed(sizeOf(frames))
        super().sendFrames(frames)

    def _relayed(self, size: int) -> None:
        if size:  # an empty message is nothing to a stream
            self._relayedAt = self.proxy.waking.seconds()

    # What is read

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if data:
            self._pauseFor(len(data))

    def _pauseFor(self, size: int) -> None:
        """The client has sent this: have it wait until its rate allows more."""
        pause = max((bucket.take(size) for bucket in self._buckets), default=0.0)
        if not pause:
            return
        if self._pause is None:
            self.transport.pauseProducing()
            self._pause = self.proxy.clock.callLater(pause, self._pauseOver)
        else:
            self._pause.reset(pause)

    def _pauseOver(self) -> None:
        self._pause = None
        if not (self.unread or self.holdsMore()):
            self.readOn()

    def readOn(self) -> None:
        if self._pause is None:
            super().readOn()

    # Time

    def _lookAtTime(self) -> None:
        """End the tunnel when it is silent for too long, or too old; else look again later."""
        self._watch = None
        now = self.proxy.waking.seconds()
        idleAt = self._relayedAt + self._idleTimeout if self._idleTimeout else math.inf
        if now >= self._endsAt:
            self.dismiss(Outcome.TUNNEL_TOO_OLD)
        elif now >= idleAt:
            self.dismiss(Outcome.TUNNEL_IDLE)
        elif (due := min(idleAt, self._endsAt)) < math.inf:
            self._watch = self.proxy.clock.callLater(due - now, self._lookAtTime)

    # The end

    def left(self, outcome: Outcome) -> None:
        isPaused = self._pause is not None
        self._limitNoMore()
        super().left(outcome)
        if isPaused:
            self._pauseOver()  # its farewell is to be read

    def partnerLost(self) -> None:
        self._limitNoMore()
        super().partnerLost()

    def connectionLost(self, reason: Failure) -> None:
        self._limitNoMore()
        super().connectionLost(reason)

    def _limitNoMore(self) -> None:
        self._buckets = ()
        for timer in (self._pause, self._watch):
            if timer is not None:
                timer.cancel()
        self._pause = self._watch = None
