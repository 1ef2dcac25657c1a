"""How far the clients of the tunnel proxy may be behind, each of them and all together.

Owns the count of what waits in memory, and who has to go when that is too much. Knows nothing of
what waits, nor how anybody is sent away.
"""

from __future__ import annotations

from operator import attrgetter

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.ends import IClientEnd, IServerEnd

CAUGHT_UP = 32 << 10
"""Bytes below its limit at which a client has caught up: half of what is written to it at a time.
More would save the server some pauses, but demand more of a slow client."""


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
        self.behind: set[IClientEnd] = set()
        self.late: dict[IClientEnd, None] = {}
        self.patience = patience
        self._each = each
        self._most = most
        self._unfinished: set[IServerEnd] = set()
        self._unfinishedTotal = 0

    def change(self, size: int) -> None:
        """Count bytes that wait from now on, or no longer."""
        self.total += size
        if size < 0 and self.late and self.total <= self._most:
            for client in tuple(self.late):
                client.reconsider()

    def changeUnfinished(self, server: IServerEnd, size: int) -> None:
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
            client.giveUp(Outcome.CLIENT_TOO_SLOW)

    def isEnoughLess(self, waiting: int) -> bool:
        """Tell whether such a client has caught up far enough for its server to go on."""
        return not waiting or (waiting <= self._each - CAUGHT_UP and self.total <= self._most)
