"""A directory in the memory of one process, with leases as that of several machines has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from nymearemoteproxy.cluster.directory import Holder, IDirectory, Member
from nymearemoteproxy.cluster.lease import LEASE, Lease, boottime
from nymearemoteproxy.workers.placetable import PlaceTable

Result = TypeVar("Result")


class LeasedTable(PlaceTable):
    """A table whose members are there as long as they are renewed.

    :param now: returns seconds; the leases are measured by them.
    """

    def __init__(self, now: Callable[[], float] = boottime) -> None:
        super().__init__()
        self._now = now
        self._until: dict[bytes, float] = {}

    def renew(self, member: Member) -> bool:
        """Begin or renew a lease; return whether there was one that is not over."""
        isThere = self.member(member.id) is not None
        self.enter(member)
        self._until[member.id] = self._now() + LEASE
        return isThere

    def member(self, id: bytes) -> Member | None:
        return super().member(id) if self._now() < self._until.get(id, 0.0) else None


@implementer(IDirectory)
class MemoryDirectory:
    """One member's view of a table. It answers at once.

    :param me: this member.
    :param now: returns seconds by a clock that goes on while the machine sleeps.
    """

    isAnswering = True
    isLasting = False
    hasOtherSecrets = False
    commands = failures = outages = 0

    def __init__(
        self,
        table: LeasedTable,
        me: Member,
        clock: IReactorTime,
        now: Callable[[], float] = boottime,
    ) -> None:
        self.me = me
        self._table = table
        self._followers: list[Callable[[], object]] = []
        self._lease = Lease(clock, self.renew, now)
        self.isLeaseOver = self._lease.isOver

    @property
    def secret(self) -> bytes | None:
        """The table's."""
        return self._table.secret

    def start(self) -> Deferred[None]:
        """Renew this member's entry now, and from now on."""
        self._lease.start()
        return self.renew()

    def stop(self) -> Deferred[None]:
        """Leave: this member's entry and its places are no longer there."""
        self._lease.stop()
        return self._ask(lambda: self._table.forget(self.me.id))

    def follow(self, returned: Callable[[], object]) -> None:
        self._followers.append(returned)

    def renew(self) -> Deferred[None]:
        sent = self._lease.sending()
        renewed = self._ask(lambda: self._table.renew(self.me))
        return renewed.addCallback(self._renewed, sent)

    def claim(self, place: str, holder: Holder) -> Deferred[Holder]:
        return self._ask(lambda: self._table.claim(place, holder))

    def claimAll(self, claims: Sequence[tuple[str, Holder]]) -> Deferred[list[Holder]]:
        return self._ask(lambda: [self._table.claim(*each) for each in claims])

    def replace(self, place: str, old: Holder, new: Holder) -> Deferred[Holder]:
        return self._ask(lambda: self._table.replace(place, old, new))

    def release(self, place: str, holder: Holder) -> Deferred[None]:
        return self._ask(lambda: self._table.release(place, holder))

    def find(self, place: str) -> Deferred[Holder | None]:
        return self._ask(lambda: self._table.find(place))

    def member(self, id: bytes) -> Deferred[Member | None]:
        return self._ask(lambda: self._table.member(id))

    def _renewed(self, isThereAlready: bool, sent: float) -> None:
        if self._lease.renewed(sent, isThereAlready):
            self._tell()

    def _tell(self) -> None:
        for returned in self._followers:
            returned()

    def _ask(self, command: Callable[[], Result]) -> Deferred[Result]:
        self.commands += 1
        return succeed(command())
