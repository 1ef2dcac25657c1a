"""The directory of the workers of one machine, in their parent's memory.

Owns who holds which place, and who the members are. Knows nothing of how workers get at it.
"""

from __future__ import annotations

import secrets

from nymearemoteproxy.cluster.directory import SECRET_SIZE, Holder, Member


class PlaceTable:
    """Places and members. All last until they are released, or forgotten: no lease ends.

    :ivar secret: made anew for each table.
    """

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(SECRET_SIZE)
        self._holders: dict[str, Holder] = {}
        self._places: dict[bytes, set[str]] = {}
        self._members: dict[bytes, Member] = {}

    def enter(self, member: Member) -> None:
        """Know a member, or what is new of it."""
        self._members[member.id] = member

    def member(self, id: bytes) -> Member | None:
        """Return a member."""
        return self._members.get(id)

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
            self._holders[place] = holder
            self._places.setdefault(holder.member, set()).add(place)
        return self._holders[place]

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
