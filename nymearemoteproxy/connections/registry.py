"""The connections that are open: who is let in, and what happens with the end of each.

Owns the list of connections, and the one place where a connection's end is counted and logged.
Knows nothing of framing or of transports.
"""

from __future__ import annotations

from collections.abc import Collection, Generator

from twisted.internet.interfaces import IAddress, IReactorTime

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


class Registry:
    """All connections, from the moment when one is accepted until it is closed.

    :param turns: where work on many connections is done, a piece in each turn of the reactor.
    :ivar gate: decides who is let in.
    :ivar privacy: how clients' addresses are written to the log; see `setPrivacy`.
    :ivar counters: what is counted.
    :ivar observers: are told what happens.
    :ivar presence: finds out whether a client is still there.
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
        """A connection arrived: return its record, None when a limit refuses it."""
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
        self._records[record.number] = record
        self.counters.totals.connections += 1
        log.debug(
            "connection {number} from {peer} opened ({transport})",
            number=record.number,
            peer=peer,
            transport=transport,
        )
        return record

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
        """A reverse proxy told the client's address; return the limit that refuses it."""
        host, text = describeAddress(address)
        if text == record.address or host is None:
            return None
        record.address, record.host = text, host
        record.peer = self.privacy.write(host, text)
        return self.gate.identified(record.ticket, host)

    def authenticated(self, record: Record) -> None:
        """A client is no stranger any more: its token is valid, or the tunnel proxy has it."""
        self.gate.authenticated(record.ticket)

    def joined(self, record: Record, partner: Record | None) -> None:
        """A connection's tunnel begins.

        :param partner: the other end; None when that is the tunnel proxy's.
        """
        record.joined = self._clock.seconds()
        record.partner = partner
        self.dismissal.joined(record)
        if partner is None or partner.partner is record:
            self.counters.totals.joined(record.role)

    def ended(self, record: Record) -> None:
        """A connection is closed: count it and write the one line about it."""
        del self._records[record.number]
        self.gate.leave(record.ticket)
        record.client = None
        self.presence.gone(record)
        outcome = record.outcome or Outcome.CONNECTION_LOST
        self.counters.outcomes[outcome] += 1
        log.info(
            "connection {number} from {peer} ended: {outcome} "
            "({transport}, {duration:.1f} s, {received} bytes in, {sent} bytes out)",
            event="connection-ended",
            number=record.number,
            peer=record.peer,
            outcome=outcome.label,
            transport=record.transport,
            secure=record.secure,
            tunneled=record.role is not None,
            duration=self._clock.seconds() - record.started,
            received=record.received,
            sent=record.sent,
        )
        self.counters.carried(record)
        self._tellOfTunnel(record)
        self.dismissal.ended(record)

    def _tellOfTunnel(self, record: Record) -> None:
        partner = record.partner
        if record.joined is None:
            return
        if partner is not None and (partner.client is not None or partner.partner is not record):
            return  # the partner, when it is closed too, tells of the tunnel, or its own process
        self.observers.tell(lambda observer: observer.tunnelEnded(record, partner))
        if partner is not None:
            record.partner = partner.partner = None
