"""How clients are sent away when the server stops or drains.

Owns who is meant, in which order, and that the end comes whatever fails. Knows nothing of what a
client is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role

log = ProxyLogger()

ABORT_TIMEOUT = 1.0
"""Seconds for connections to be closed that were aborted, which takes a turn of the reactor."""

GOODBYES_A_TURN = 50
"""Connections that are told to leave in one turn of the reactor; each takes some fifty
microseconds."""


class Dismissal:
    """Sends clients away: all of them, or those whom nobody would miss.

    :param records: all connections that are open, at any moment.
    :ivar isForAll: everybody has to go.
    """

    def __init__(self, clock: IReactorTime, turns: Turns, records: Collection[Record]) -> None:
        self._clock = clock
        self._turns = turns
        self._records = records
        self._waitingForAllGone: list[Deferred[None]] = []
        # The servers of the tunnel proxy, and how many clients each has.
        self._hosts: dict[str, Record] = {}
        self._guests: Counter[str] = Counter()
        self._isDraining = False
        self.isForAll = False

    def joined(self, record: Record) -> None:
        """A connection's tunnel begins."""
        if record.role is Role.SERVER:
            self._hosts[record.uuid] = record
        elif record.role is Role.CLIENT:
            self._guests[record.serverUuid] += 1

    def ended(self, record: Record) -> None:
        """A connection is closed, and no longer among the open ones."""
        if record.joined is not None:
            self._leftTunnel(record)
        if not self._records:
            self._fireAllGone()

    def _leftTunnel(self, record: Record) -> None:
        """Forget a server or a client; while draining, dismiss a server with its last client."""
        if record.role is Role.SERVER:
            if self._hosts.get(record.uuid) is record:
                del self._hosts[record.uuid]
        elif record.role is Role.CLIENT:
            uuid = record.serverUuid
            self._guests[uuid] -= 1
            if self._guests[uuid]:
                return
            del self._guests[uuid]
            if self._isDraining and uuid in self._hosts:
                sayGoodbye(self._hosts[uuid])

    def dismissAll(self) -> Deferred[None]:
        """Say goodbye to every client; the Deferred fires when all of them are gone."""
        self.isForAll = True
        return self._dismiss(lambda _record: True)

    def dismissIdle(self) -> Deferred[None]:
        """Say goodbye to every client but those that have a tunnel, now or when it has ended.

        The server of a tunnel proxy, too, as soon as it has no client.

        :returns: a Deferred that fires when all of them are gone.
        """
        self._isDraining = True
        return self._dismiss(self.isIdle)

    def isIdle(self, record: Record) -> bool:
        """Tell whether nobody would miss a connection."""
        if record.role is Role.SERVER:
            return not self._guests[record.uuid]
        return record.role is None

    def _dismiss(self, isMeant: Callable[[Record], bool]) -> Deferred[None]:
        """Say goodbye to some; the Deferred fires when nobody is left at all."""
        gone: Deferred[None] = Deferred()
        self._waitingForAllGone.append(gone)
        self._turns.begin(self._dismissing(isMeant))
        return gone

    def _dismissing(self, isMeant: Callable[[Record], bool]) -> Generator[None, None, None]:
        for number, record in enumerate(list(self._records), 1):
            # It may have left with another one, or have got a tunnel meanwhile.
            if record.client is not None and isMeant(record):
                sayGoodbye(record)
            if not number % GOODBYES_A_TURN:
                yield
        if not self._records:
            self._fireAllGone()

    def _fireAllGone(self) -> None:
        waiting, self._waitingForAllGone = self._waitingForAllGone, []
        for gone in waiting:
            gone.callback(None)

    def abortAll(self) -> None:
        """Close every connection that is still there, at once."""
        for record in list(self._records):
            if record.client is not None:  # it may have left with another one
                cutOff(record)
        if self._waitingForAllGone:
            # Whatever a fault may have left behind, the process must end.
            self._clock.callLater(ABORT_TIMEOUT, self._fireAllGone)


def sayGoodbye(record: Record) -> None:
    """Have a client leave, whatever fails."""
    _tell(record, lambda client: client.shutDown())


def dismiss(record: Record, outcome: Outcome) -> None:
    """End a client's tunnel, or its connection, for this reason, whatever fails."""
    _tell(record, lambda client: client.dismiss(outcome))


def _tell(record: Record, leave: Callable[[Any], object]) -> None:
    try:
        leave(record.client)
    except Exception:
        log.failure("connection {number} cannot be told goodbye", number=record.number)
        cutOff(record)


def cutOff(record: Record) -> None:
    """Close a connection at once."""
    try:
        record.client.abort()
    except Exception:
        log.failure("connection {number} cannot be cut off", number=record.number)
