"""How far the clients of the tunnel proxy may be behind, each of them and all together.

Owns the count of what waits in memory, and who has to wait or to go when that is too much. Knows
nothing of what waits, nor how anybody is sent away.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter

from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.tunnelproxy.ends import IClientEnd, IServerEnd
from nymearemoteproxy.tunnelproxy.shares import Shares

CAUGHT_UP = 32 << 10
"""Bytes below its limit at which a client has caught up: half of what is written to it at a time.
More would save the server some pauses, but demand more of a slow client."""

PAUSED_SHARE = 4
"""A client is to be paused when it is this part of its limit behind: the rest is for what the
server has sent by the time it hears of it."""

KEPT_SHARE = 2
"""No more than this part of its limit waits for a client whose server stops when it is told to, so
that may wait for as long as the client wants: as much again is on its way, as a rule."""

UNFINISHED_SHARE = 4
"""When there is no room for all, this part of it is for what servers have begun and not ended, and
those with the most go if that is more. Clients may have half, and somewhat more until those with
more than their share have caught up."""


class Backlog:
    """How far clients may be behind.

    Each has a limit of its own. When what waits for all takes up half of the room, those are behind
    too far as well for whom more than a fair share of that half waits. An address has one share,
    however many servers come from it, and the clients of these servers share that among them, so
    who is behind by little need not care what strangers do. When all of the room is taken up all
    the same, those go for whom the most waits.

    :param each: bytes that one may be behind.
    :param most: bytes that all together may be behind, with what servers have not ended.
    :param patience: seconds in which one that is behind too far has to take something.
    :ivar total: bytes that wait for slow clients, or for the rest of a server's packet.
    :ivar late: the clients that are behind too far, so that their servers have to wait; who has
        waited longest goes on first.
    """

    __slots__ = (
        "late",
        "patience",
        "total",
        "_bySource",
        "_each",
        "_half",
        "_most",
        "_sources",
        "_unfinished",
        "_unfinishedTotal",
    )

    def __init__(self, each: int, most: int, patience: float) -> None:
        self.total = 0
        self.late: dict[IClientEnd, None] = {}
        self.patience = patience
        self._each = each
        self._most = most
        self._half = most // 2
        self._sources: Shares[Shares[IClientEnd]] = Shares()
        self._bySource: dict[Hashable, Shares[IClientEnd]] = {}
        self._unfinished: set[IServerEnd] = set()
        self._unfinishedTotal = 0

    def change(self, client: IClientEnd, size: int) -> None:
        """Count bytes that wait for a client from now on, or no longer; it has counted them."""
        wasShort = self._sources.total > self._half
        self.total += size
        clients = self._bySource.get(client.source)
        if clients is None:
            clients = self._bySource[client.source] = Shares()
        before = clients.total
        clients.change(client, client.waiting - size, client.waiting)
        self._sources.change(clients, before, clients.total)
        if not clients.total:
            del self._bySource[client.source]
        if wasShort and self._sources.total <= self._half:
            for late in tuple(self.late):
                late.reconsider()

    def changeUnfinished(self, server: IServerEnd, size: int) -> None:
        """Count bytes that a server has begun and not ended, from now on or no longer."""
        self.total += size
        self._unfinishedTotal += size
        if server.unfinished:
            self._unfinished.add(server)
        else:
            self._unfinished.remove(server)

    def makeRoom(self) -> None:
        """If there is no room for all, give up some.

        The servers that have begun the most, as long as that is too much by itself; otherwise the
        clients for which the most waits, of the address where the most waits.
        """
        while self.total > self._most:
            if self._unfinishedTotal > self._most // UNFINISHED_SHARE:
                max(self._unfinished, key=attrgetter("unfinished")).giveUp()
            else:
                self._sources.largest().largest().giveUp(Outcome.CLIENT_TOO_SLOW)

    def _isBeyondShare(self, client: IClientEnd, room: int) -> bool:
        """Tell whether there is too little room for all, and more than its share waits for it."""
        if self._sources.total <= room:
            return False
        share = self._sources.fair(room)
        clients = self._bySource[client.source]
        return clients.total > share and client.waiting > clients.fair(share)

    # Each of these is about a client for which something waits, or has waited

    def isTooMuch(self, client: IClientEnd) -> bool:
        """Tell whether a client is behind too far."""
        return client.waiting > self._each or self._isBeyondShare(client, self._half)

    def isEnoughLess(self, client: IClientEnd) -> bool:
        """Tell whether such a client has caught up far enough for its server to go on."""
        if not client.waiting:
            return True
        limit = self._each - CAUGHT_UP
        return client.waiting <= limit and not self._isBeyondShare(client, self._half)

    def isMuch(self, client: IClientEnd) -> bool:
        """Tell whether a client is to be sent nothing more for now."""
        limit, room = self._each // PAUSED_SHARE, self._most // PAUSED_SHARE
        return client.waiting >= limit or self._isBeyondShare(client, room)

    def isLittle(self, client: IClientEnd) -> bool:
        """Tell whether a client that was paused is to be sent more."""
        if not client.waiting:
            return True
        limit, room = self._each // PAUSED_SHARE // 2, self._most // PAUSED_SHARE // 2
        return client.waiting <= limit and not self._isBeyondShare(client, room)

    def mayStay(self, client: IClientEnd) -> bool:
        """Tell whether what waits for one that is sent nothing more may wait for ever."""
        limit = self._each // KEPT_SHARE
        return client.waiting <= limit and not self._isBeyondShare(client, self._half)
