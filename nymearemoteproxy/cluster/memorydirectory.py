"""A directory in the memory of one process.

Owns the table of places and members. Knows nothing of how other processes get at it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from nymearemoteproxy.cluster.directory import SECRET_SIZE, Holder, IDirectory, Member
from nymearemoteproxy.cluster.lease import LEASE, Lease, boottime

Result = TypeVar("Result")


class PlaceTable:
    """Places and members. A place lasts until it is released, or its member is forgotten.

    :param now: returns seconds; the leases are measured by them.
    :ivar secret: made anew for each table.
    """

    def __init__(self, now: Callable[[], float] = boottime) -> None:
        self.secret = secrets.token_bytes(SECRET_SIZE)
        self._now = now
        self._holders: dict[str, Holder] = {}
        self._places: dict[bytes, set[str]] = {}
        self._members: dict[bytes, tuple[Member, float]] = {}

    def renew(self, member: Member) -> bool:
        """Begin or renew a lease; return whether there was one that is not over."""
        isThere = self.member(member.id) is not None
        self._members[member.id] = member, self._now() + LEASE
        return isThere

    def member(self, id: bytes) -> Member | None:
        """Return a member whose lease is not over."""
        member, until = self._members.get(id, (None, 0.0))
        return member if self._now() < until else None

    def forget(self, id: bytes) -> None:
        """Drop a member that is no more, and all its places."""
        self._members.pop(id, None)
        for place in self._places.pop(id, ()):
            del self._holders[place]

    def find(self, place: str) -> Holder | None:
        """Return who holds a place."""
        return self._holders.get(place)

    def claim(self, place: str, holder: Holder) -> Holder:
        """Take a place that is free; return who holds it now."""
        if place not in self._holders:
            self._put(place, holder)
        return self._holders[place]

    def claimAll(self, claims: Sequence[tuple[str, Holder]]) -> list[Holder]:
        """The same for several."""
        return [self.claim(place, holder) for place, holder in claims]

    def replace(self, place: str, old: Holder, new: Holder) -> Holder:
        """Take a place from one that holds it, or held it last; return who holds it now."""
        self.release(place, old)
        return self.claim(place, new)

    def release(self, place: str, holder: Holder) -> None:
        """Free a place, if it is this one who holds it."""
        if self._holders.get(place) == holder:
            del self._holders[place]
            places = self._places[holder.member]
            places.discard(place)
            if not places:
                del self._places[holder.member]

    def _put(self, place: str, holder: Holder) -> None:
        self._holders[place] = holder
        self._places.setdefault(holder.member, set()).add(place)


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
        table: PlaceTable,
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
        return self._ask(lambda: self._table.claimAll(claims))

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
