"""The connections that are open: who is let in, and what happens with the end of each.

Owns the list of connections, and the one place where a connection's end is counted and logged.
Knows nothing of framing or of transports.

`IRegistry` is what a connection sees of it, and `Registry` that of a process which decides for
itself. One that has to tell another process builds on it.
"""

from __future__ import annotations

from collections.abc import Collection, Generator

from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import Attribute, Interface, implementer

from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.counters import Counters
from nymearemoteproxy.connections.dismissal import Dismissal
from nymearemoteproxy.connections.limits import Gate
from nymearemoteproxy.connections.observers import IObserver, Observers
from nymearemoteproxy.connections.presence import Presence
from nymearemoteproxy.connections.records import Record, slices
from nymearemoteproxy.protocol.outcomes import Outcome

log = ProxyLogger()


class IRegistry(Interface):
    """All connections, as each of them sees it: what becomes of it is told here, in this order."""

    observers = Attribute("Are told what happens; an `Observers` of `IObserver`.")
    presence = Attribute("Finds out whether a client is still there; a `Presence`.")

    def admit(address: IAddress, transport: str, secure: bool) -> Record | None:
        """A connection arrived: return its record, None when a limit refuses it."""

    def identified(record: Record, address: IAddress) -> Outcome | None:
        """A reverse proxy told the client's address; return the limit that refuses it.

        When that is asked elsewhere, None is returned, and a refused client is cut off later.
        """

    def authenticated(record: Record) -> None:
        """A client is no stranger any more: its token is valid, or the tunnel proxy has it."""

    def joined(record: Record, partner: Record | None) -> None:
        """A connection's tunnel begins; its `Record.role` is known.

        :param partner: the other end, which is told of by itself; None when that is the tunnel
            proxy's.
        """

    def ended(record: Record) -> None:
        """A connection is closed; `Record.outcome` says why."""


@implementer(IRegistry)
class Registry:
    """All connections, from the moment when one is accepted until it is closed.

    What is not told here is told of `IRegistry`.

    :param turns: where work on many connections is done, a piece in each turn of the reactor.
    :ivar gate: decides who is let in.
    :ivar privacy: how clients' addresses are written to the log; see `setPrivacy`.
    :ivar counters: what is counted.
    :ivar dismissal: sends clients away.
    """

    def __init__(self, clock: IReactorTime, turns: Turns, gate: Gate) -> None:
        self.gate = gate
        self.privacy = Privacy.FULL
        self.observers: Observers[IObserver] = Observers()
        self.presence = Presence(clock, turns)
        self._clock = clock
        self._turns = turns
        self._number = 0
        self._records: dict[int, Record] = {}
        self.counters = Counters(turns, self.records)
        self.dismissal = Dismissal(clock, turns, self.records)
        self._refusals: dict[Outcome, Tally] = {}

    @property
    def records(self) -> Collection[Record]:
        """All connections that are open, at any moment."""
        return self._records.values()

    def find(self, number: int) -> Record | None:
        """Return the connection with this number, if it is open."""
        return self._records.get(number)

    def setPrivacy(self, privacy: Privacy) -> None:
        """Write addresses like this from now on, also those of clients that are connected."""
        self.privacy = privacy
        self._turns.begin(self._rewriting())

    def _rewriting(self) -> Generator[None, None, None]:
        for records in slices(list(self.records)):
            for record in records:
                record.peer = self.privacy.write(record.host, record.address)
            yield

    def admit(self, address: IAddress, transport: str, secure: bool) -> Record | None:
        host, text = describeAddress(address)
        peer = self.privacy.write(host, text)
        ticket = self.gate.enter(host)
        if isinstance(ticket, Outcome):
            self._refused(ticket, peer)
            return None
        self._number += 1
        record = Record(
            self._number, transport, secure, text, peer, host or "", ticket, self._clock.seconds()
        )
        self.begins(record)
        log.debug(
            "connection {number} from {peer} opened ({transport})",
            number=record.number,
            peer=peer,
            transport=transport,
        )
        return record

    def begins(self, record: Record) -> None:
        """It is one of the connections from now on."""
        self._records[record.number] = record
        self.counters.totals.connections += 1

    def _refused(self, outcome: Outcome, peer: str) -> None:
        """Count a refused connection; log the first of its kind, then sums."""
        self.counters.outcomes[outcome] += 1
        if outcome not in self._refusals:
            self._refusals[outcome] = Tally(
                self._clock,
                "connection from {peer} refused: {outcome}",
                "{count} more connections refused in the last {interval:.0f} s: {outcome}",
                event="connections-refused",
                outcome=outcome.label,
            )
        self._refusals[outcome].add(event="connection-refused", peer=peer, outcome=outcome.label)

    def identified(self, record: Record, address: IAddress) -> Outcome | None:
        if self.rename(record, address):
            return self.gate.identified(record.ticket, record.host)
        return None

    def rename(self, record: Record, address: IAddress) -> bool:
        """Write down the address that a client really has; return whether it is another one."""
        host, text = describeAddress(address)
        if text == record.address or host is None:
            return False
        record.address, record.host = text, host
        record.peer = self.privacy.write(host, text)
        return True

    def authenticated(self, record: Record) -> None:
        self.gate.authenticated(record.ticket)

    def joined(self, record: Record, partner: Record | None) -> None:
        record.joined = self._clock.seconds()
        record.partner = partner
        self.dismissal.joined(record)
        if partner is None or partner.partner is record:
            self.counters.totals.joined(record.role)

    def ended(self, record: Record) -> None:
        self.gate.leave(record.ticket)
        log.info(
            "connection {number} from {peer} ended: {outcome} "
            "({transport}, {duration:.1f} s, {received} bytes in, {sent} bytes out)",
            event="connection-ended",
            number=record.number,
            peer=record.peer,
            outcome=(record.outcome or Outcome.CONNECTION_LOST).label,
            transport=record.transport,
            secure=record.secure,
            tunneled=record.role is not None,
            duration=self._clock.seconds() - record.started,
            received=record.received,
            sent=record.sent,
        )
        self.ends(record)

    def ends(self, record: Record) -> None:
        """It is none of the connections any more."""
        del self._records[record.number]
        record.client = None
        self.presence.gone(record)
        self.counters.outcomes[record.outcome or Outcome.CONNECTION_LOST] += 1
        self.counters.carried(record)
        self._tellOfTunnel(record)
        self.dismissal.ended(record)

    def _tellOfTunnel(self, record: Record) -> None:
        partner = record.partner
        if record.joined is None or (partner is not None and partner.client is not None):
            return  # the partner, when it is closed too, tells of the tunnel
        self.observers.tell(lambda observer: observer.tunnelEnded(record, partner))
        if partner is not None:
            record.partner = partner.partner = None
