"""The links that are open, by the member at their other end.

Owns who has to be told when a member is gone, and how that is found out. Knows nothing of what a
link carries, or of how one is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from zope.interface import Attribute, Interface

OPENING, RELAYING, CLOSING, CONTROL = STATES = ("opening", "relaying", "closing", "control")
"""Where a link stands, for those who watch: what it is for is not settled yet; it carries a tunnel;
one side of that has left; or it only tells that its member is there."""


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
    :ivar broke: is called with the id of one to which a link has just broken.
    :ivar over: is called with the id of one to which there is none any more.
    :ivar heard: is called with the id of one that has shown that it is there.
    :ivar cuts: links that were closed since the other member was gone.
    :ivar incomingBy: how many there are that other members have asked for, by their state.
    :ivar outgoingBy: the same of those that this one has asked others for.
    """

    def __init__(self) -> None:
        self._links: dict[bytes, dict[ILink, str]] = {}
        self.begun: Callable[[bytes], object] = _ignore
        self._cutNow: ILink | None = None
        self.broke: Callable[[bytes], object] = _ignore
        self.over: Callable[[bytes], object] = _ignore
        self.heard: Callable[[bytes], object] = _ignore
        self.cuts = 0
        self.incomingBy: Counter[str] = Counter()
        self.outgoingBy: Counter[str] = Counter()

    @property
    def incoming(self) -> int:
        """How many there are for tunnels that other members have asked for."""
        return self.incomingBy[RELAYING] + self.incomingBy[CLOSING]

    @property
    def outgoing(self) -> int:
        """The same of those that this one has asked others for."""
        return self.outgoingBy[RELAYING] + self.outgoingBy[CLOSING]

    def count(self, isHome: bool, state: str, change: int) -> None:
        """There is one more of these, or one less; those that carry tunnels are counted here."""
        (self.incomingBy if isHome else self.outgoingBy)[state] += change

    def add(self, link: ILink) -> None:
        """A link is open."""
        self.count(link.isHome, RELAYING, 1)
        isFirst = link.member not in self._links
        self._links.setdefault(link.member, {})[link] = RELAYING
        if isFirst:
            self.begun(link.member)

    def closing(self, link: ILink) -> None:
        """One side of a link's tunnel has left."""
        links = self._links.get(link.member, {})
        if links.get(link) == RELAYING:
            links[link] = CLOSING
            self.count(link.isHome, RELAYING, -1)
            self.count(link.isHome, CLOSING, 1)

    def remove(self, link: ILink, isBroken: bool = False) -> None:
        """A link is closed.

        :param isBroken: it ended without a word, so the other member may be gone.
        """
        if isBroken and link is not self._cutNow:
            self.broke(link.member)
        links = self._links[link.member]
        self.count(link.isHome, links.pop(link), -1)
        if not links:
            del self._links[link.member]
            self.over(link.member)

    def of(self, member: bytes) -> list[ILink]:
        """Return the links to a member."""
        return list(self._links.get(member, ()))

    def cut(self, link: ILink) -> None:
        """The member at the other end is gone, and with it what this link carried."""
        if link in self._links.get(link.member, ()):
            self.cuts += 1
            self._cutNow = link
            link.cut()
            self._cutNow = None
