"""The links that are open, by the member at their other end.

Owns who has to be told when a member is gone, how many links one member may have here, and what is
told of those that do not keep to the rules. Knows nothing of what a link carries, or of how one is
made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from nymearemoteproxy.common.tally import Tally

OPENING, RELAYING, CLOSING, CONTROL = STATES = ("opening", "relaying", "closing", "control")
"""Where a link stands, for those who watch: what it is for is not settled yet; it carries a tunnel;
one side of that has left; or it only tells that its member is there."""


MOST_CONTROLS = 4
"""Links for control that one member has here. It has one, and another for a moment when it opens it
anew and the end of the last one has not been noticed yet."""


class ILink(Interface):
    """A link that carries a tunnel."""

    member = Attribute("The id of the member at the other end.")
    isHome = Attribute("Whether the other member asked for it.")

    def cut() -> None:
        """The other member is gone: close at once."""

    def checkTransport() -> None:
        """Look whether it has ended, as nobody notices while it is not read."""


Close = Callable[[], object]


def _ignore(_member: bytes) -> None:
    """Nobody wants to know."""


class Links:
    """The links of this member.

    :param most: how many one other member may ask for, control aside; 0 = no bound.
    :ivar begun: is called with the id of a member to which there is a link now, and was none.
    :ivar broke: is called with the id of one to which a link has just broken.
    :ivar over: is called with the id of one to which there is none any more.
    :ivar heard: is called with the id of one that has shown that it is there.
    :ivar cuts: links that were closed since the other member was gone.
    :ivar faults: links that were closed since the other member did not keep to the rules.
    :ivar incomingBy: how many there are that other members have asked for, by their state.
    :ivar outgoingBy: the same of those that this one has asked others for.
    """

    def __init__(self, clock: IReactorTime, most: int = 0) -> None:
        self._most = most
        self._links: dict[bytes, dict[ILink, str]] = {}
        self._asked: Counter[bytes] = Counter()
        self._controls: dict[bytes, dict[Close, None]] = {}  # in the order in which they came
        self.begun: Callable[[bytes], object] = _ignore
        self._cutNow: ILink | None = None
        self.broke: Callable[[bytes], object] = _ignore
        self.over: Callable[[bytes], object] = _ignore
        self.heard: Callable[[bytes], object] = _ignore
        self.cuts = 0
        self.faults = 0
        self._tally = Tally(
            clock,
            "a link of member {member} is closed: {reason}",
            "link",
            "{more} of members closed in the last {interval:.0f} s",
        )
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

    def fault(self, member: bytes | None, reason: str) -> None:
        """A link is closed whose other end did not keep to the rules.

        :param member: its id, if that is proven.
        """
        self.faults += 1
        name = "that is not known" if member is None else member.hex()
        self._tally.add(member=name, reason=reason)

    def enter(self, member: bytes) -> bool:
        """A member has asked for one more link; return whether it may have that."""
        if 0 < self._most <= self._asked[member]:
            self.fault(member, f"it has {self._most} links here already")
            return False
        self._asked[member] += 1
        return True

    def leave(self, member: bytes) -> None:
        """A member has one link less of those that it has asked for."""
        self._asked[member] -= 1
        if not self._asked[member]:
            del self._asked[member]

    def addControl(self, member: bytes, close: Close) -> None:
        """A member has one more link for control; of too many the first one has to go.

        :param close: closes it, at once.
        """
        controls = self._controls.setdefault(member, {})
        controls[close] = None
        if len(controls) > MOST_CONTROLS:
            oldest = next(iter(controls))
            del controls[oldest]
            self.fault(member, f"it has {MOST_CONTROLS} newer ones for control")
            oldest()

    def removeControl(self, member: bytes, close: Close) -> None:
        """A link for control is closed."""
        controls = self._controls.get(member, {})
        controls.pop(close, None)
        if not controls:
            self._controls.pop(member, None)

    def add(self, link: ILink) -> None:
        """A link is open."""
        self.count(link.isHome, RELAYING, 1)
        if link.isHome:
            self._asked[link.member] += 1
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
        if link.isHome:
            self.leave(link.member)
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
