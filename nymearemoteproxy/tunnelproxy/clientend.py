"""The far end of a client's tunnel: what the client sends goes to its server, and back.

Owns what waits for a client that does not keep up, and how far behind it may be. Knows nothing of
transports, framing or uuids.
"""

from __future__ import annotations

from collections import deque
from operator import attrgetter

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from nymearemoteproxy.meeting.tunnel import ILeg
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration, clientConnected
from nymearemoteproxy.tunnelproxy.ends import End, Origin
from nymearemoteproxy.tunnelproxy.serverend import ServerEnd

SLICE_SIZE = 64 << 10
"""Bytes written to a client at a time, so that a large packet for a slow one waits here, where it
is counted, and not in its transport."""

STALLED = 60.0
"""Seconds in which a client for which something waits has to take something, whether that holds up
anybody or not: as long as a server may be silent."""

CAUGHT_UP = SLICE_SIZE // 2
"""Bytes below its limit at which a client has caught up. More would save the server some pauses,
but demand more of a slow client."""


class Backlog:
    """How far clients may be behind.

    :param each: bytes that one may be behind.
    :param most: bytes that all together may be behind, with what servers have not ended.
    :param patience: seconds in which one that is behind too far has to take something.
    :ivar total: bytes that wait for slow clients, or for the rest of a server's packet.
    :ivar behind: the clients they wait for.
    :ivar late: the clients that are behind too far, so that their servers have to wait; who has
        waited longest goes on first.
    """

    __slots__ = (
        "behind",
        "late",
        "patience",
        "total",
        "_each",
        "_most",
        "_unfinished",
        "_unfinishedTotal",
    )

    def __init__(self, each: int, most: int, patience: float) -> None:
        self.total = 0
        self.behind: set[ClientEnd] = set()
        self.late: dict[ClientEnd, None] = {}
        self.patience = patience
        self._each = each
        self._most = most
        self._unfinished: set[ServerEnd] = set()
        self._unfinishedTotal = 0

    def change(self, size: int) -> None:
        """Count bytes that wait from now on, or no longer."""
        self.total += size
        if size < 0 and self.late and self.total <= self._most:
            for client in tuple(self.late):
                client.reconsider()

    def changeUnfinished(self, server: ServerEnd, size: int) -> None:
        """Count bytes that a server has begun and not ended, from now on or no longer."""
        self._unfinishedTotal += size
        if server.unfinished:
            self._unfinished.add(server)
        else:
            self._unfinished.remove(server)
        self.change(size)

    def isTooMuch(self, waiting: int) -> bool:
        """Tell whether a client with so many bytes is behind too far."""
        return waiting > self._each or self.total > self._most

    def makeRoom(self, now: float) -> None:
        """If all are behind too far, give up some.

        Servers that have begun the most, as long as that is more than clients need; then clients
        that take nothing, the longest first.
        """
        while self.total > self._most and self._unfinishedTotal > self._most // 2:
            max(self._unfinished, key=attrgetter("unfinished")).giveUp()
        while self.behind and self.total > self._most:
            client = min(self.behind, key=attrgetter("progress"))
            if client.progress + self.patience > now:
                break
            client.giveUp()

    def isEnoughLess(self, waiting: int) -> bool:
        """Tell whether such a client has caught up far enough for its server to go on."""
        return not waiting or (waiting <= self._each - CAUGHT_UP and self.total <= self._most)


@implementer(ILeg)
class ClientEnd(End):
    """The far end of a client's tunnel: what it sends goes to the server, and back.

    :ivar address: stands for the client in the server's packets.
    :ivar progress: when it took something for the last time, or had nothing to take, by the clock.
    """

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
        server: ServerEnd,
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
        self.address = server.admit(self)

    def open(self, partner: ILeg) -> None:
        super().open(partner)
        self._isAnnounced = True
        number = self._server.numberNotice()
        host = self.origin.host
        self._server.tell(clientConnected(number, self._registration, host, self.address))

    # To the server

    def sendBytes(self, data: bytes) -> None:
        if data and not self._isOver:
            self._server.relay(self, data)

    def pause(self) -> None:
        """The server takes nothing more for now."""
        self._leg.pauseReading()

    def resume(self) -> None:
        """The server takes more again."""
        self._leg.resumeReading()

    # To the client

    def deliver(self, data: bytes) -> None:
        """Send what the server sent."""
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
        """It is behind too far: look whether it still is."""
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
            self.giveUp()
        else:
            # Who comes next does not wait long behind one that holds up nobody so far.
            self._timer = self._clock.callLater(min(left, self._backlog.patience), self._watch)

    # The end

    def finish(self, outcome: Outcome) -> None:
        self.leave(outcome)

    def leave(self, outcome: Outcome) -> None:
        """End this tunnel, as soon as the client has taken what waits."""
        if self._isOver:
            return
        self._isOver = True
        self._outcome = outcome
        self._backlog.late.pop(self, None)
        self._server.dismiss(self, self._isAnnounced)
        if not self._queue:
            self._conclude()

    def giveUp(self) -> None:
        """Something is lost that the client should have got: it must not take this for the end."""
        self._dropQueue()
        self._leg.cutOff(Outcome.CLIENT_TOO_SLOW)
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
