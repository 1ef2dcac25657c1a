"""Stands in for the mirrored registry until that is there.

Owns just enough to try the rest. Knows nothing of names, tunnels or traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import implementer

from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.limits import Bounds, Gate, Ticket
from nymearemoteproxy.connections.records import IClient, Record
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.workers.channel import Message
from nymearemoteproxy.workers.mirrored import IFarRegistry, IMirror

OUTCOMES = {outcome.label: outcome for outcome in Outcome}


@implementer(IClient)
class FarClient:
    """A connection of a worker's, in the parent."""

    stage = "far"

    def __init__(self, number: int, send: Callable[[Message], None]) -> None:
        self._number = number
        self._send = send

    def shutDown(self) -> None:
        self._send(["shutDown", self._number])

    def abort(self) -> None:
        self._send(["abort", self._number])


@implementer(IMirror)
class StandInMirror:
    """In the parent."""

    def __init__(self, registry: Registry, index: int, send: Callable[[Message], None]) -> None:
        self._registry = registry
        self._send = send
        self._records: dict[int, Record] = {}

    @property
    def connections(self) -> int:
        return len(self._records)

    def handed(self, record: Record) -> None:
        record.client = FarClient(record.number, self._send)
        self._records[record.number] = record

    def received(self, message: Message) -> None:
        kind, number, *more = message
        record = self._records[number]
        if kind == "authenticated":
            self._registry.authenticated(record)
        elif kind == "ended":
            label, record.received, record.sent = more
            self._end(record, OUTCOMES[label])

    def lost(self) -> None:
        for record in list(self._records.values()):
            self._end(record, Outcome.WORKER_LOST)

    def _end(self, record: Record, outcome: Outcome) -> None:
        del self._records[record.number]
        record.endsWith(outcome)
        self._registry.ended(record)


@implementer(IFarRegistry)
class StandInRegistry(Registry):
    """In a worker."""

    def __init__(self, clock: IReactorTime, turns: Turns, send: Callable[[Message], None]) -> None:
        super().__init__(clock, turns, Gate(clock, Bounds()))
        self._send = send
        self._expected: tuple[int, str | None] = 0, None

    def expect(self, number: int, source: str | None) -> None:
        self._expected = number, source

    def received(self, message: Message) -> None:
        kind, number = message
        record = self._records.get(number)
        if record is not None and record.client is not None:
            client: Any = record.client
            client.abort() if kind == "abort" else client.shutDown()

    def admit(self, address: IAddress, transport: str, secure: bool) -> Record | None:
        host, text = describeAddress(address)
        number, source = self._expected
        record = Record(
            number, transport, secure, text, text, host or "", Ticket(source), self._clock.seconds()
        )
        self._records[number] = record
        self.gate.connections += 1
        self.gate.unauthenticated += 1
        return record

    def authenticated(self, record: Record) -> None:
        record.ticket.authenticated = True
        self._send(["authenticated", record.number])

    def ended(self, record: Record) -> None:
        del self._records[record.number]
        record.client = None
        outcome = record.outcome or Outcome.CONNECTION_LOST
        self._send(["ended", record.number, outcome.label, record.received, record.sent])
        self.dismissal.ended(record)
