"""The far end of a client's tunnel that has a rate: what comes from the server goes on no faster.

Owns the pauses between what the client is sent. Knows nothing of transports, framing or uuids; the
other direction is the affair of the client's leg.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nymearemoteproxy.common.rates import ByteBucket, portion
from nymearemoteproxy.meeting.tunnel import NOBODY, ILeg
from nymearemoteproxy.meeting.wrappers import MeteredLeg
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.clientend import SLICE_SIZE, ClientEnd
from nymearemoteproxy.tunnelproxy.ends import IServerEnd, Origin


class PacedClientEnd(ClientEnd):
    """A far end that is no faster than its rate.

    What comes faster waits as it does for a client that is slow, and with the same consequences for
    the server. There are two reasons to wait, the client's leg and the pause.

    :param rate: bytes a second.
    """

    __slots__ = ("_bucket", "_isFull", "_pause")

    def __init__(
        self,
        rate: float,
        clock: IReactorTime,
        origin: Origin,
        registration: ClientRegistration,
        server: IServerEnd,
        backlog: Backlog,
    ) -> None:
        self._bucket = ByteBucket(clock, rate)
        self._isFull = False  # the client's leg takes nothing more
        self._pause: IDelayedCall | None = None
        sliceSize = min(SLICE_SIZE, portion(rate))
        super().__init__(clock, origin, registration, server, backlog, sliceSize)

    def open(self, partner: ILeg) -> None:
        super().open(MeteredLeg(partner, self._relayed))

    def _relayed(self, size: int) -> None:
        pause = self._bucket.take(size)
        if pause and self._pause is None and self._leg is not NOBODY:
            self._pause = self._clock.callLater(pause, self._pauseOver)
            super().pauseReading()

    def _pauseOver(self) -> None:
        self._pause = None
        if not self._isFull:
            super().resumeReading()

    def pauseReading(self) -> None:
        self._isFull = True
        super().pauseReading()

    def resumeReading(self) -> None:
        self._isFull = False
        if self._pause is None:
            super().resumeReading()

    def _conclude(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        super()._conclude()
        self._leg = NOBODY  # it refers to this end
