"""The connections that are open: who is let in, and what happens with the end of each.

Owns the list of connections, and the one place where a connection's end is counted and logged.
Knows nothing of framing or of transports.

`IRegistry` is what a connection sees of it, and `Registry` that of a process which decides for
itself. One that has to tell another process builds on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import Attribute, Interface, implementer

from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.common.privacy import Privacy
from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.accounts import AccountBounds, Accounts
from nymearemoteproxy.connections.counters import Counters
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.connections.dismissal import GOODBYES_A_TURN, Dismissal, cutOff, dismiss
from nymearemoteproxy.connections.limits import Bounds, Gate
from nymearemoteproxy.connections.observers import IObserver, Observers
from nymearemoteproxy.connections.presence import Presence
from nymearemoteproxy.connections.records import Record, slices
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role

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

    def named(record: Record, role: Role) -> Outcome | None:
        """A client's token is valid, and whose it is is known; return the limit that refuses it.

        :param role: what the client wants to be.

        When that is asked elsewhere, None is returned, and a refused client is dismissed later.
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
    :param unixTime: tells the date.
    :ivar gate: decides who is let in.
    :ivar privacy: how clients' addresses are written to the log; see `setPrivacy`.
    :ivar counters: what is counted.
    :ivar dismissal: sends clients away.
    :ivar accounts: what each account uses.
    """

    def __init__(
        self,
        clock: IReactorTime,
        turns: Turns,
        gate: Gate,
        unixTime: Callable[[], float] = time.time,
    ) -> None:
        self.gate = gate
        self.accounts = Accounts(clock, unixTime)
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

    def limit(self, bounds: Bounds, accounts: AccountBounds, denied: DenyList) -> None:
        """Go by these limits from now on; who is connected and denied by now is cut off."""
        self.gate.bounds = bounds
        self.accounts.limit(accounts)
        if denied != self.gate.denied:
            self.gate.denied = denied
            self._turns.begin(self._cuttingOffDenied())

    def _cuttingOffDenied(self) -> Generator[None, None, None]:
        for number, record in enumerate(list(self.records), 1):
            if record.client is not None and record.host in self.gate.denied:
                record.endsWith(Outcome.ADDRESS_DENIED)
                cutOff(record)
            if not number % GOODBYES_A_TURN:
                yield

    def countAccounts(self) -> Deferred[None]:
        """Count what accounts have sent; whose account has used up what it may is dismissed."""
        return self._turns.begin(self._countingAccounts())

    def _countingAccounts(self) -> Generator[None, None, None]:
        accounts = self.accounts
        if not accounts.bounds.bytesPerDay:
            return
        for records in slices(list(self.records)):
            for record in records:
                if record.client is None or record.subject is None:
                    continue
                accounts.count(record)
                if record.joined is not None and accounts.isUsedUp(record):
                    dismiss(record, Outcome.QUOTA_USED_UP)
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
                "connection",
                "{more} refused in the last {interval:.0f} s: {outcome}",
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

    def named(self, record: Record, role: Role) -> Outcome | None:
        return self.accounts.refusal(record, role)

    def authenticated(self, record: Record) -> None:
        record.trusted = self._clock.seconds()
        self.gate.authenticated(record.ticket)

    def joined(self, record: Record, partner: Record | None) -> None:
        self.joins(record, partner)
        if record.isRegistered:
            what = "server" if record.role is Role.SERVER else "client"
            log.debug(
                "connection {number} is a {what} of the tunnel proxy",
                number=record.number,
                what=what,
            )
        elif partner is None or self.find(partner.number) is not partner:
            log.debug("connection {number} is joined to one elsewhere", number=record.number)
        elif partner.partner is record:  # the other one has told of itself before
            log.debug(
                "connection {number} is joined to connection {partner}",
                number=record.number,
                partner=partner.number,
            )

    def joins(self, record: Record, partner: Record | None) -> None:
        """It has a tunnel from now on; see `joined`."""
        record.joined = self._clock.seconds()
        record.partner = partner
        self.dismissal.joined(record)
        self.countTunnel(record)
        if partner is None or partner.partner is record:
            self.counters.totals.joined(record.role)

    def countTunnel(self, record: Record) -> None:
        """Count a tunnel that begins, if it is not counted yet and it is known whose it is."""
        if self.accounts.joined(record):
            # In another turn, for the tunnel is just about to begin.
            self._clock.callLater(0, self._dismiss, record, Outcome.TOO_MANY_TUNNELS)

    def _dismiss(self, record: Record, outcome: Outcome) -> None:
        if record.client is not None:
            dismiss(record, outcome)

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
        self.accounts.ended(record)
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
