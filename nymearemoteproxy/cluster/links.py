"""The links that are open, by the member at their other end.

Owns who has to be told when a member is gone, and how that is found out. Knows nothing of what a
link carries, or of how one is made.
"""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import Attribute, Interface


class ILink(Interface):
    """A link that carries a tunnel."""

    member = Attribute("The id of the member at the other end.")
    isHome = Attribute("Whether the other member asked for it.")

    def cut() -> None:
        """The other member is gone: close at once."""

    def checkTransport() -> None:
        """Look whether it has ended, as nobody notices while it is not read."""


def _ignore(_member: bytes) -> None:
    """Nobody wants to know."""


class Links:
    """The links of this member.

    :ivar begun: is called with the id of a member to which there is a link now, and was none.
    :ivar over: is called with the id of one to which there is none any more.
    :ivar cuts: links that were closed since the other member was gone.
    """

    def __init__(self) -> None:
        self._links: dict[bytes, dict[ILink, None]] = {}
        self.begun: Callable[[bytes], object] = _ignore
        self.over: Callable[[bytes], object] = _ignore
        self.cuts = 0
        self.incoming = 0
        self.outgoing = 0

    def add(self, link: ILink) -> None:
        """A link is open."""
        self._count(link, 1)
        isFirst = link.member not in self._links
        self._links.setdefault(link.member, {})[link] = None
        if isFirst:
            self.begun(link.member)

    def remove(self, link: ILink) -> None:
        """A link is closed."""
        self._count(link, -1)
        links = self._links[link.member]
        del links[link]
        if not links:
            del self._links[link.member]
            self.over(link.member)

    def _count(self, link: ILink, change: int) -> None:
        if link.isHome:
            self.incoming += change
        else:
            self.outgoing += change

    def of(self, member: bytes) -> list[ILink]:
        """Return the links to a member."""
        return list(self._links.get(member, ()))

    def cut(self, link: ILink) -> None:
        """The member at the other end is gone, and with it what this link carried."""
        if link in self._links.get(link.member, ()):
            self.cuts += 1
            link.cut()
