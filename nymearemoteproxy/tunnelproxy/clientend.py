"""The far end of a client's tunnel: what the client sends goes to its server, and back.

Owns what waits for a client that does not keep up, and when it is given up. Knows nothing of
transports, framing or uuids.
"""

from __future__ import annotations

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
anybody or not: as long as a server may be silent."""


@implementer(ILeg, IClientEnd)
class ClientEnd(End):
    """The far end of a client's tunnel: what it sends goes to the server, and back."""

    __slots__ = (
        "address",
        "progress",
        "_backlog",
        "_blocked",
        "_isAnnounced",
        "_outcome",
        "_queue",
        "_queued",
        "_registration",
        "_server",
    )

    def __init__(
        self,
        clock: IReactorTime,
        origin: Origin,
        registration: ClientRegistration,
        server: IServerEnd,
        backlog: Backlog,
    ) -> None:
        super().__init__(clock, origin)
        self._registration = registration
        self._server = server
        self._backlog = backlog
        self.progress = 0.0
        self._isAnnounced = False
        self._blocked = False
        self._queue: deque[bytearray] = deque()
        self._queued = 0
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
        if len(data) <= SLICE_SIZE and not self._blocked:
            self._leg.sendBytes(data)
            return
        for start in range(0, len(data), SLICE_SIZE):
            self._keep(data[start : start + SLICE_SIZE])
        self._catchUp()
        if not self._queue:
            return
        self._backlog.behind.add(self)
        self._backlog.makeRoom(self._clock.seconds())
        if self._isOver:
            return
        if self not in self._backlog.late and self._backlog.isTooMuch(self._queued):
            self._backlog.late[self] = None
            self._server.holdUp(self)
            self._watch()
        elif self._timer is None:
            self._watch()

    def _keep(self, data: bytes) -> None:
        # Small ones together: each object costs as much memory as some dozens of bytes.
        if self._queue and len(self._queue[-1]) + len(data) <= SLICE_SIZE:
            self._queue[-1] += data
        else:
            self._queue.append(bytearray(data))
        self._count(len(data))

    def _count(self, size: int) -> None:
        self._queued += size
        self._backlog.change(size)

    def _catchUp(self) -> None:
        while self._queue and not self._blocked:
            data = self._queue.popleft()
            self._count(-len(data))
            self._leg.sendBytes(bytes(data))

    def pauseReading(self) -> None:
        if not self._blocked:
            self._blocked = True
            self.progress = self._clock.seconds()

    def resumeReading(self) -> None:
        self._blocked = False
        self._catchUp()
        if not self._queue:
            self._backlog.behind.discard(self)
            self._stopTimer()
            if self._isOver:
                self._conclude()
        if self in self._backlog.late:
            self.reconsider()

    def reconsider(self) -> None:
        if self._backlog.isEnoughLess(self._queued):
            del self._backlog.late[self]
            self._server.goOn(self)

    def _watch(self) -> None:
        """Something waits: give the client up when it has not taken anything for too long."""
        self._stopTimer()
        holdsUpOthers = self in self._backlog.late and self._server.clients > 1
        patience = self._backlog.patience if holdsUpOthers else STALLED
        left = self.progress + patience - self._clock.seconds()
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
        self._queue.clear()
        self._backlog.behind.discard(self)
        self._count(-self._queued)

    def _conclude(self) -> None:
        self._stopTimer()
        self._dropQueue()
        if self._outcome is not Outcome.PARTNER_LEFT:
            self._leg.finish(self._outcome)
        self._dropTunnel().lost(self)
