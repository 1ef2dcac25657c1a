"""The connections of a worker: who is let in, is counted and written down by its parent.

Owns what the parent is told of each connection, and when. Knows nothing of what it does with it,
nor of how messages get there.

Theory of operation
-------------------

The parent has accepted the connection and given it a number, so here nobody is refused and nothing
is logged of an end. What changes the counts or the lists there is told at once: the address that a
PROXY header gives, that a client is no stranger any more, the begin of its tunnel, its end. What is
only looked at, traffic and stage, is told once a second, and only of connections where it has
changed: those that are idle cost a look. The parent answers each slice of that, and the next one
waits for it, so a parent that is busy gets less rather than more.

What the parent asks for meets what has happened here meanwhile. A connection that has ended is not
there any more. One that is still on its way has a number higher than any that was seen, and is
asked when it is there. One that the parent takes for idle may have got a tunnel, and a server its
first client: then it stays, unless everybody has to go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IAddress, IReactorTime
from zope.interface import implementer

from nymearemoteproxy.common.addresses import describeAddress
from nymearemoteproxy.common.periodic import Periodic
from nymearemoteproxy.common.turns import Turns
from nymearemoteproxy.connections.accounts import AccountBounds
from nymearemoteproxy.connections.denylist import DenyList
from nymearemoteproxy.connections.dismissal import (
    GOODBYES_A_TURN,
    Dismissal,
    cutOff,
    dismiss,
    sayGoodbye,
)
from nymearemoteproxy.connections.limits import Bounds, Gate, Ticket, sourceOf
from nymearemoteproxy.connections.observers import IObserver
from nymearemoteproxy.connections.records import CONNECTING, Record, slices
from nymearemoteproxy.connections.registry import Registry
from nymearemoteproxy.protocol.linkrecords import outcomeOf
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.workers.facts import Facts, factsOf, farFactsOf, nameOf

REPORT_INTERVAL = 1.0
"""Seconds; who watches is told once a second."""

Send = Callable[[Sequence[Any]], object]
"""Sends a message, whose first item says what it is, in the order of the calls."""

Handlers = dict[str, Callable[..., object]]
"""Who takes which messages; each is given the items behind the first."""


class ReportedRecord(Record):
    """What is known of a worker's connection, and how much of it the parent knows.

    :ivar toldStage: the stage that the parent knows.
    :ivar toldTraffic: the bytes that it knows of, in both directions.
    :ivar isIntroduced: it knows the client's name.
    """

    __slots__ = ("isIntroduced", "toldStage", "toldTraffic")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.toldStage = CONNECTING
        self.toldTraffic = 0
        self.isIntroduced = False


@implementer(IObserver)
class JudgementReporter:
    """Tells the parent how long the authentication backend takes."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def authenticated(self, seconds: float) -> None:
        self._send(("judged", seconds))

    def tunnelEnded(self, first: Record, second: Record | None) -> None:
        """The parent knows by itself."""


class ReportingDismissal(Dismissal):
    """A worker's: the parent, which sends clients away, knows of those that servers have elsewhere.

    :param send: sends a message to the parent.
    """

    def __init__(
        self, clock: IReactorTime, turns: Turns, records: Collection[Record], send: Send
    ) -> None:
        super().__init__(clock, turns, records)
        self._send = send

    def joined(self, record: Record) -> None:
        super().joined(record)
        if not record.number:
            self._send(("guestCame", record.serverUuid))

    def ended(self, record: Record) -> None:
        super().ended(record)
        if not record.number:
            self._send(("guestLeft", record.serverUuid))


class ReportingRegistry(Registry):
    """All connections of a worker; `gate` refuses nobody, but its bounds say who is exempt.

    :param worker: its number, from 1 on.
    :param send: sends a message to the parent.
    :ivar handlers: take the parent's messages.
    """

    def __init__(self, clock: IReactorTime, turns: Turns, worker: int, send: Send) -> None:
        super().__init__(clock, turns, Gate(clock, Bounds()))
        self.dismissal = ReportingDismissal(clock, turns, self.records, send)
        self.handlers: Handlers = {
            "shutDown": self._shutDown,
            "abort": self._abort,
            "refuse": self._refuse,
            "dismiss": self._dismissFor,
            "next": self._goOn,
        }
        self._countsAccounts = False
        self._worker = worker
        self._send = send
        self._expected: tuple[int, str | None] | None = None
        self._highest = 0
        # What the parent asks for, by the number of the connection: of those that are here, and of
        # those that are on their way.
        self._asked: dict[int, Callable[[Record], None]] = {}
        self._early: dict[int, Callable[[Record], None]] = {}
        self._taken: Deferred[None] | None = None
        self._reports = Periodic(
            clock, REPORT_INTERVAL, self._report, "the traffic of connections is not reported"
        )

    def start(self) -> None:
        """Report from now on."""
        self._reports.start()

    def stop(self) -> None:
        """Report traffic no more."""
        self._reports.stop()

    def expect(self, number: int, source: str | None) -> None:
        """The next connection that is admitted is this one.

        :param source: what the per-address limits count its address as; see `Ticket`.
        """
        self._expected = number, source
        self._highest = number

    def giveUp(self, number: int, outcome: Outcome) -> None:
        """A connection that was expected could not be taken over, or not altogether.

        :param outcome: why.
        """
        self._expected = None
        self._early.pop(number, None)
        record = self.find(number)
        if record is None:
            self._send(("ended", number, outcome.label, 0, 0, None, None, None))
            return
        record.endsWith(outcome)
        try:
            record.client.abort()
        except Exception:  # nobody has the connection, so nobody will tell of its end
            self.ended(record)

    def admit(self, address: IAddress, transport: str, secure: bool) -> Record:
        assert self._expected is not None, "nobody may come without a number"
        (number, source), self._expected = self._expected, None
        host, text = describeAddress(address)
        record = ReportedRecord(
            number,
            transport,
            secure,
            text,
            self.privacy.write(host, text),
            host or "",
            Ticket(source),
            self._clock.seconds(),
        )
        record.worker = self._worker
        self.begins(record)
        if number in self._early:
            self._ask(number, self._early.pop(number))
        return record

    def identified(self, record: Record, address: IAddress) -> None:
        if self.rename(record, address):
            record.ticket.source = sourceOf(record.host, self.gate.bounds.exempt)
            self._send(("identified", record.number, record.host, getattr(address, "port", 0)))

    def limit(self, bounds: Bounds, accounts: AccountBounds, denied: DenyList) -> None:
        """The parent keeps them; here it is only asked who is exempt, and whether accounts matter.

        Accounts and denied addresses are the same to all workers.
        """
        self.gate.bounds = bounds
        self._countsAccounts = accounts != AccountBounds()

    def named(self, record: Record, role: Role) -> None:
        if self._countsAccounts and record.subject is not None:
            self._send(("named", record.number, record.subject, role.name))

    def authenticated(self, record: Record) -> None:
        self._send(("authenticated", record.number))

    def joined(self, record: Record, partner: Record | None) -> None:
        self.joins(record, partner)
        other: int | Facts | None = None
        if partner is not None:
            other = partner.number or farFactsOf(partner)
        role, facts = nameOf(record.role), _introduction(record)
        received, sent = record.received, record.sent
        self._send(("joined", record.number, role, other, received, sent, facts))

    def ended(self, record: Record) -> None:
        outcome = (record.outcome or Outcome.CONNECTION_LOST).label
        role, facts = nameOf(record.role), _introduction(record)
        received, sent = record.received, record.sent
        self._send(("ended", record.number, outcome, received, sent, role, facts, _far(record)))
        self._asked.pop(record.number, None)
        self.ends(record)

    @inlineCallbacks
    def _report(self) -> Any:
        for records in slices(list(self.records)):
            rows = [row for record in records if (row := _news(record)) is not None]
            if rows:
                self._taken = Deferred()
                self._send(("traffic", rows))
                yield self._taken
            else:
                yield self._turns.run(_pause())

    def _goOn(self) -> None:
        """The parent has taken what was reported last."""
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)

    def _shutDown(self, number: int, isForAll: bool) -> None:
        """Say goodbye to a client, if everybody has to go or nobody would miss it."""
        self._ask(number, sayGoodbye if isForAll else self._sayGoodbyeIfIdle)

    def _sayGoodbyeIfIdle(self, record: Record) -> None:
        if self.dismissal.isIdle(record):
            sayGoodbye(record)

    def _abort(self, number: int) -> None:
        self._ask(number, cutOff)

    def _refuse(self, number: int, label: str) -> None:
        """A limit that only the parent knows is in a client's way."""
        record = self.find(number)
        if record is not None:
            record.endsWith(outcomeOf(label))
            self._ask(number, cutOff)

    def _dismissFor(self, number: int, label: str) -> None:
        """A limit that only the parent knows ends a client's tunnel."""
        outcome = outcomeOf(label)
        self._ask(number, lambda record: dismiss(record, outcome))

    def _ask(self, number: int, action: Callable[[Record], None]) -> None:
        """Do what the parent asks for; thousands may be asked at once, so in turns."""
        if number in self._records:
            self._asked[number] = action
            self._turns.wait(self._doAsked)
        elif number > self._highest:
            self._early[number] = action

    def _doAsked(self) -> None:
        for number in list(self._asked)[:GOODBYES_A_TURN]:
            action = self._asked.pop(number, None)
            if action is not None:  # or it has left with another one
                action(self._records[number])
        if self._asked:
            self._turns.wait(self._doAsked)


def _introduction(record: Any) -> Facts | None:
    """Return what the parent has to know of a client; None when it has been told."""
    if record.isIntroduced:
        return None
    record.isIntroduced = True
    return factsOf(record)


def _far(record: Record) -> list[Any] | None:
    """Return how a partner of another machine has fared; None if there is none."""
    far = record.partner
    if far is None or far.number:
        return None
    return [far.received, far.sent, (far.outcome or Outcome.CONNECTION_LOST).label]


def _news(record: Any) -> list[Any] | None:
    """Return what the parent does not know yet of a connection; None when there is nothing."""
    client = record.client
    if client is None:
        return None
    stage, traffic = client.stage, record.received + record.sent
    if stage == record.toldStage and traffic == record.toldTraffic:
        return None
    record.toldStage, record.toldTraffic = stage, traffic
    row = [record.number, stage, record.received, record.sent]
    if not record.isIntroduced and (record.name or record.uuid or record.subject):
        row.append(_introduction(record))
    return row


def _pause() -> Generator[None, None, None]:
    """Let everybody else have a turn."""
    return
    yield
