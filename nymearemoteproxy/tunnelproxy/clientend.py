"""The far end of a client's tunnel: what the client sends goes to its server, and back.

Owns what waits for a client that does not keep up, and when it is given up. Knows nothing of
transports, framing or uuids.
"""

from __future__ import annotations

import math
from collections import deque

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.tunnelproxy.backlog import Backlog
from nymearemoteproxy.tunnelproxy.ends import End, IClientEnd, IServerEnd, Origin

SLICE_SIZE = 64 << 10
"""Bytes written to a client at a time, so that a large packet for a slow one waits here, where it
is counted, and not in its transport."""

STALLED = 60.0
"""Seconds in which a client for which something waits has to take something, whether that holds up
anybody or not: as long as a server may be silent. A server with flow control sends it nothing more
meanwhile, so there it has all the time it wants, as long as no more waits than is sent by then."""


@implementer(ILeg, IClientEnd)
class ClientEnd(End):
    """The far end of a client's tunnel: what it sends goes to the server, and back.

    :param sliceSize: bytes written to the client at a time, at most.
    """

    __slots__ = (
        "address",
        "source",
        "waiting",
        "_backlog",
        "_blocked",
        "_isAnnounced",
        "_isPaused",
        "_outcome",
        "_progress",
        "_queue",
        "_registration",
        "_server",
        "_sliceSize",
    )

    def __init__(
        self,
        clock: IReactorTime,
        origin: Origin,
        registration: ClientRegistration,
        server: IServerEnd,
        backlog: Backlog,
        sliceSize: int,
    ) -> None:
        super().__init__(clock, origin)
        self._sliceSize = sliceSize
        self._registration = registration
        self._server = server
        self._backlog = backlog
        self.source = server.source
        self._progress = 0.0  # when it took something, or had nothing to take, by the clock
        self._isAnnounced = False
        self._blocked = False
        self._isPaused = False  # and the server, which asked for it, knows
        self._queue: deque[bytearray] = deque()
        self.waiting = 0
        self._outcome = Outcome.PARTNER_LEFT
        self.address: int = server.admit(self)

    def open(self, partner: ILeg) -> None:
        super().open(partner)
        self._isAnnounced = True
        self._server.announce(self, self._registration)

    # To the server

    def sendBytes(self, data: bytes) -> None:
        if data and not self._isOver:
            self._server.relay(self, data)

    def pause(self) -> None:
        self._leg.pauseReading()

    def resume(self) -> None:
        self._leg.resumeReading()

    # To the client

    def deliver(self, data: bytes) -> None:
        if not data:
            return
        size = self._sliceSize
        if len(data) <= size and not self._blocked:
            self._leg.sendBytes(data)
            return
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            if self._blocked:
                self._keep(piece)
            else:
                self._leg.sendBytes(piece)
        if not self._queue:
            return
        self._backlog.makeRoom()
        if self._isOver:
            return
        if self._server.flowControl and not self._isPaused and self._backlog.isMuch(self):
            self._isPaused = True
            self._server.tellPaused(self)
        if self not in self._backlog.late and self._backlog.isTooMuch(self):
            self._backlog.late[self] = None
            self._server.holdUp(self)
            self._watch()
        elif self._timer is None:
            self._watch()

    def _keep(self, data: bytes) -> None:
        # Small ones together: each object costs as much memory as some dozens of bytes.
        if self._queue and len(self._queue[-1]) + len(data) <= self._sliceSize:
            self._queue[-1] += data
        else:
            self._queue.append(bytearray(data))
        self._count(len(data))

    def _count(self, size: int) -> None:
        self.waiting += size
        self._backlog.change(self, size)

    def _catchUp(self) -> None:
        while self._queue and not self._blocked:
            data = self._queue.popleft()
            self._count(-len(data))
            self._leg.sendBytes(bytes(data))

    def pauseReading(self) -> None:
        if not self._blocked:
            self._blocked = True
            self._progress = self._clock.seconds()

    def resumeReading(self) -> None:
        self._blocked = False
        self._catchUp()
        if not self._queue:
            self._stopTimer()
            if self._isOver:
                self._conclude()
        self.reconsider()
        if self._isPaused and not self._isOver and self._backlog.isLittle(self):
            self._isPaused = False
            self._server.tellResumed(self)

    def reconsider(self) -> None:
        if self in self._backlog.late and self._backlog.isEnoughLess(self):
            del self._backlog.late[self]
            self._server.goOn(self)

    def _watch(self) -> None:
        """Something waits: give the client up when it has not taken anything for too long."""
        self.reconsider()  # what the others have leaves more for it, maybe
        self._stopTimer()
        isLate = self in self._backlog.late
        mayStay = self._server.flowControl and not (isLate or self._isOver)
        if isLate and self._server.clients > 1:
            patience = self._backlog.patience  # it holds up others
        elif mayStay and self._backlog.mayStay(self):
            patience = math.inf
        else:
            patience = STALLED
        left = self._progress + patience - self._clock.seconds()
        if left <= 0:
            self.giveUp(Outcome.CLIENT_TOO_SLOW)
        else:
            # Who comes next does not wait long behind one that holds up nobody so far.
            self._timer = self._clock.callLater(min(left, self._backlog.patience), self._watch)

    # The end

    def finish(self, outcome: Outcome) -> None:
        self.leave(outcome)

    def leave(self, outcome: Outcome) -> None:
        if self._isOver:
            return
        self._isOver = True
        self._outcome = outcome
        if self._server.flowControl:
            self._progress = self._clock.seconds()  # until now it had all the time it wanted
        self._backlog.late.pop(self, None)
        self._server.dismiss(self, self._isAnnounced)
        if not self._queue:
            self._conclude()

    def giveUp(self, outcome: Outcome) -> None:
        self._dropQueue()
        self._leg.cutOff(outcome)
        if self._isOver:
            self._conclude()
        else:
            self.leave(Outcome.PARTNER_LEFT)

    def partnerLost(self) -> None:
        super().partnerLost()
        if self._queue:
            self._stopTimer()
            self._dropQueue()
            if self._isOver:
                self._conclude()

    def _dropQueue(self) -> None:
        if self._queue:
            self._queue.clear()
            self._count(-self.waiting)

    def _conclude(self) -> None:
        self._stopTimer()
        self._dropQueue()
        if self._outcome is not Outcome.PARTNER_LEFT:
            self._leg.finish(self._outcome)
        self._dropTunnel().lost(self)
