"""The connections of a worker as its parent sees them: a record for each, which follows the other.

The parent's registry is the one of the whole group. Owns how its records are kept like those of the
worker, and how what is asked of one gets there. Knows nothing of how messages get to the worker,
nor of its process.

A tunnel between two workers is one tunnel here. Each of the two tells of it, and nothing says which
is heard first, or whether one has ended before the other has begun. So whoever tells it first tells
it for both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from zope.interface import implementer

from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.records import CLOSING, CONNECTING, IClient, Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.linkrecords import outcomeOf
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role, State
from nymearemoteproxy.workers.facts import Facts, learn, mirroredForeigner, mirroredGuest, roleOf
from nymearemoteproxy.workers.reporting import Handlers, Send

ENDS_A_TURN = 20
"""Connections of a dead worker that are ended in one turn of the reactor: each has its line in the
log, and is told to all who want to know."""


@implementer(IClient)
class MirroredClient:
    """Stands for a connection that a worker has.

    :ivar mirror: of its worker.
    """

    __slots__ = ("mirror", "stage", "_record")

    def __init__(self, mirror: Mirror, record: Record) -> None:
        self.mirror = mirror
        self.stage = CONNECTING
        self._record = record

    def shutDown(self) -> None:
        self.mirror.shutDown(self._record.number)

    def reaches(self, stage: str) -> None:
        """The worker has told where it stands, maybe before it heard that it has to end."""
        if self.stage != CLOSING:
            self.stage = stage

    def dismiss(self, outcome: Outcome) -> None:
        self.stage = CLOSING  # as it will be: whoever asks for its end once more is too late
        self.mirror.send(("dismiss", self._record.number, outcome.label))

    def abort(self) -> None:
        self.mirror.send(("abort", self._record.number))


class Mirror:
    """Keeps the records of one worker's connections, as long as that process lives.

    :param registry: of all workers.
    :param worker: its number, from 1 on.
    :param send: sends it a message; has no effect when it is gone.
    :ivar handlers: take its messages.
    :ivar connections: how many it has.
    """

    def __init__(self, registry: Registry, turns: Turns, worker: int, send: Send) -> None:
        self.send = send
        self.connections = 0
        self.handlers: Handlers = {
            "identified": self._identified,
            "named": self._named,
            "authenticated": self._authenticated,
            "judged": self._judged,
            "joined": self._joined,
            "traffic": self._traffic,
            "ended": self._ended,
            "guestCame": self._guestCame,
            "guestLeft": self._guestLeft,
        }
        # Clients elsewhere, by the server that they have here.
        self._guests: Counter[str] = Counter()
        self._registry = registry
        self._turns = turns
        self._worker = worker

    def take(self, record: Record) -> None:
        """The worker serves a connection that the registry has admitted.

        It has to be told its number and its ticket's source.
        """
        self.connections += 1
        record.worker = self._worker
        record.client = MirroredClient(self, record)

    def shutDown(self, number: int) -> None:
        """Have a connection leave; unless everybody has to, only if nobody would miss it there."""
        self.send(("shutDown", number, self._registry.dismissal.isForAll))

    def _end(self, record: Record) -> None:
        self.connections -= 1
        self._registry.ended(record)

    def lost(self) -> Deferred[None]:
        """The worker is gone, and with it its connections."""
        for uuid in list(self._guests.elements()):
            self._guestLeft(uuid)
        return self._turns.begin(self._losing(list(self._registry.records)))

    def _losing(self, records: list[Record]) -> Generator[None, None, None]:
        for number, record in enumerate(records, 1):
            if self._isOurs(record):
                record.endsWith(Outcome.WORKER_LOST)
                self._end(record)
            if not number % ENDS_A_TURN:
                yield

    def _isOurs(self, record: Record) -> bool:
        client = record.client
        return isinstance(client, MirroredClient) and client.mirror is self

    def _find(self, number: int) -> Record | None:
        record = self._registry.find(number)
        return record if record is not None and self._isOurs(record) else None

    # What the worker tells; nothing of a connection that is over.

    def _identified(self, number: int, host: str, port: int) -> None:
        record = self._find(number)
        if record is None:
            return
        address = (IPv6Address if ":" in host else IPv4Address)("TCP", host, port)
        refusal = self._registry.identified(record, address)
        if refusal is not None:
            self.send(("refuse", number, refusal.label))

    def _named(self, number: int, subject: str, role: str) -> None:
        record = self._find(number)
        if record is None:
            return
        record.subject = subject
        if record.joined is not None:  # the partner, of another worker, told it before
            self._registry.countTunnel(record)
            return
        refusal = self._registry.named(record, Role[role])
        if refusal is not None:
            record.client.dismiss(refusal)

    def _authenticated(self, number: int) -> None:
        record = self._find(number)
        if record is not None:
            self._registry.authenticated(record)

    def _judged(self, seconds: float) -> None:
        self._registry.observers.tell(lambda observer: observer.authenticated(seconds))

    def _joined(
        self,
        number: int,
        role: str,
        partner: int | Facts | None,
        received: int,
        sent: int,
        facts: Facts | None,
    ) -> None:
        record = self._find(number)
        if record is None:
            return
        _update(record, received, sent, facts)
        record.role = roleOf(role)
        record.client.reaches(State.TUNNELED.value)
        if isinstance(partner, list):
            far = mirroredForeigner(partner, record)
            self._registry.joined(record, far)
        elif record.joined is None:  # or the partner has told it
            self._beginTunnel(record, self._partner(partner))

    def _partner(self, partner: int | None) -> Record | None:
        """Return the record of the other end of a tunnel, be it this worker's or another one's.

        None as well for one that has ended without a word of the tunnel.
        """
        record = None if partner is None else self._registry.find(partner)
        return record if record is not None and record.joined is None else None

    def _beginTunnel(self, record: Record, partner: Record | None) -> None:
        self._registry.joined(record, partner)
        if partner is not None:
            partner.role = record.role
            self._registry.joined(partner, record)

    def _traffic(self, rows: list[list[Any]]) -> None:
        try:
            for number, stage, received, sent, *more in rows:
                record = self._find(number)
                if record is not None:
                    record.client.reaches(stage)
                    _update(record, received, sent, more[0] if more else None)
        finally:
            self.send(("next",))

    def _ended(
        self,
        number: int,
        outcome: str,
        received: int,
        sent: int,
        role: str | None,
        facts: Facts | None,
        far: list[Any] | None = None,
    ) -> None:
        record = self._find(number)
        if record is None:
            return
        _update(record, received, sent, facts)
        if far is not None and record.partner is not None:
            record.partner.received, record.partner.sent, label = far
            record.partner.endsWith(outcomeOf(label))
        record.role = record.role or roleOf(role)
        record.endsWith(outcomeOf(outcome))
        self._end(record)

    def _guestCame(self, serverUuid: str) -> None:
        """A client elsewhere has a server of the worker's, which is not sent away then."""
        self._guests[serverUuid] += 1
        self._registry.dismissal.joined(mirroredGuest(serverUuid))

    def _guestLeft(self, serverUuid: str) -> None:
        self._guests[serverUuid] -= 1
        if not self._guests[serverUuid]:
            del self._guests[serverUuid]
        self._registry.dismissal.ended(mirroredGuest(serverUuid))


def _update(record: Record, received: int, sent: int, facts: Facts | None) -> None:
    record.received, record.sent = received, sent
    if facts is not None:
        learn(record, facts)
