"""What each account uses: how many tunnels it has, and how many bytes it has sent today.

An account is what the authentication backend names as a token's subject. Owns the counting, and
which limit an account has reached. Knows nothing of framing, or of how a connection is ended.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from nymearemoteproxy.common.tally import Tally
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role

MAX_TRACKED_ACCOUNTS = 65_536
"""How many accounts' bytes are remembered, about 12 MiB if they are called like uuids; the longest
silent is forgotten first."""

_ENDS = {Role.PARTNER: 1, Role.CLIENT: 2}
"""How many ends of a tunnel belong to one connection's account. Both ends of a tunnel by token do,
and one of them may be on another machine; the server of a client is another account's."""

SECONDS_PER_DAY = 24 * 3600


@dataclass(frozen=True)
class AccountBounds:
    """The limits of each account; 0 = none.

    :ivar tunnels: at once.
    :ivar bytesPerDay: that its clients may send from midnight to midnight, UTC.
    """

    tunnels: int = 0
    bytesPerDay: int = 0


class Accounts:
    """Counts for each account; one that nobody named is none.

    :param unixTime: tells the date.
    :ivar bounds: for those who come from now on; those of the bytes for everybody; see `limit`.
    """

    def __init__(self, clock: IReactorTime, unixTime: Callable[[], float]) -> None:
        self.bounds = AccountBounds()
        self._clock = clock
        self._countsSince = 0.0  # by the clock
        self._unixTime = unixTime
        self._ends: Counter[str] = Counter()
        self._tunnels: dict[Record, tuple[str, int]] = {}  # what each is counted as there
        self._day = 0
        self._used: OrderedDict[str, int] = OrderedDict()  # today; the longest silent first
        self._counted: dict[Record, int] = {}  # how much of what it has sent
        self._forgotten = Tally(
            clock,
            "more than {most} accounts have sent something today: what one of them has sent is "
            "forgotten",
            "account",
            "what {more} had sent today was forgotten in the last {interval:.0f} s",
        )

    def limit(self, bounds: AccountBounds) -> None:
        """Go by these from now on; what was sent before bytes had a limit does not count."""
        if bounds.bytesPerDay and not self.bounds.bytesPerDay:
            self._countsSince = self._clock.seconds()
            self._counted.clear()
        self.bounds = bounds

    def refusal(self, record: Record, role: Role) -> Outcome | None:
        """Return the limit of its account that keeps a client out.

        :param role: what it wants to be. A registered server is no tunnel.
        """
        subject, bounds = record.subject, self.bounds
        if subject is None:
            return None
        isFull = self._ends[subject] > 2 * bounds.tunnels - 2
        if bounds.tunnels and isFull and role in _ENDS:
            return Outcome.TOO_MANY_TUNNELS
        if self.isUsedUp(record):
            return Outcome.QUOTA_USED_UP
        return None

    def joined(self, record: Record) -> bool:
        """A connection's tunnel begins; return whether its account has too many by now.

        Two that were let in at the same moment may be one too many together.
        """
        subject = record.subject
        ends = 0 if record.role is None else _ENDS.get(record.role, 0)
        if subject is None or not ends or record in self._tunnels:
            return False
        self._tunnels[record] = subject, ends
        self._ends[subject] += ends
        return 0 < 2 * self.bounds.tunnels < self._ends[subject]

    def ended(self, record: Record) -> None:
        """A connection is closed."""
        if record.subject is None:
            return
        subject, ends = self._tunnels.pop(record, (record.subject, 0))
        self._ends[subject] -= ends
        if not self._ends[subject]:
            del self._ends[subject]
        self.count(record)
        self._counted.pop(record, None)

    def count(self, record: Record) -> None:
        """Count what a client has sent since the last time."""
        subject = record.subject
        if subject is None or not self.bounds.bytesPerDay:
            return
        self._lookAtDate()
        before = record.received if record.started < self._countsSince else 0
        sent = record.received - self._counted.get(record, before)
        self._counted[record] = record.received
        if not sent:
            return
        self._used[subject] = self._used.pop(subject, 0) + sent
        if len(self._used) > MAX_TRACKED_ACCOUNTS:
            self._used.popitem(last=False)
            self._forgotten.add(most=MAX_TRACKED_ACCOUNTS)

    def isUsedUp(self, record: Record) -> bool:
        """Tell whether a client's account has sent today what it may."""
        self._lookAtDate()
        most = self.bounds.bytesPerDay
        return record.subject is not None and 0 < most <= self._used.get(record.subject, 0)

    def _lookAtDate(self) -> None:
        day = int(self._unixTime() // SECONDS_PER_DAY)
        if day != self._day:
            self._day = day
            self._used.clear()
