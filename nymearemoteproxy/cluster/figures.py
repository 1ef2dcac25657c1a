"""What a member shows of itself: its links, its places, its directory.

Owns which figures there are, and how those of several members become one. Knows nothing of who
looks at them, nor how they get there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from nymearemoteproxy.cluster.accepting import LinkFactory
from nymearemoteproxy.cluster.directory import IDirectory
from nymearemoteproxy.cluster.links import CONTROL
from nymearemoteproxy.cluster.membership import Membership


@dataclass(frozen=True)
class Figures:
    """What is, and what has been since the start; of one member, or of several together.

    :ivar members: how many they are.
    :ivar unanswered: how many of them have a directory that does not answer.
    :ivar mismatched: how many of them have met members with another secret at the directory.
    :ivar incoming: links that others have asked for, by their state; see `links`.
    :ivar outgoing: the same of those that they have asked others for.
    :ivar held: places that are theirs, and the directory knows it.
    :ivar unlisted: those that are treated like that, and it does not know.
    :ivar contested: the same, but it says that another member has them.
    :ivar losses: how often it was found to say so.
    :ivar claims: answers to claims by how long they took; see `Latencies`.
    :ivar claimSeconds: how long all of them took.
    :ivar commands: that the directory was sent.
    :ivar failures: of those, how many it did not answer, or not as it should.
    :ivar outages: how often it began not to answer.
    :ivar deaths: members that were found to be gone while there were links to them.
    :ivar cuts: links that were closed for that.
    :ivar faults: links that were closed since the other member did not keep to the rules.
    :ivar delays: how late the event loops of workers were, likewise.
    :ivar delaySeconds: all of that together.
    :ivar strangers: connections that were no links of this cluster's, by the reason.
    """

    members: int = 0
    unanswered: int = 0
    mismatched: int = 0
    incoming: Counter[str] = field(default_factory=Counter)
    outgoing: Counter[str] = field(default_factory=Counter)
    held: int = 0
    unlisted: int = 0
    contested: int = 0
    losses: int = 0
    claims: Counter[int] = field(default_factory=Counter)
    claimSeconds: float = 0.0
    commands: int = 0
    failures: int = 0
    outages: int = 0
    deaths: int = 0
    cuts: int = 0
    faults: int = 0
    delays: Counter[int] = field(default_factory=Counter)
    delaySeconds: float = 0.0
    strangers: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )

    @property
    def linksIn(self) -> int:
        """Links for tunnels that others have asked for."""
        return self.incoming.total() - self.incoming[CONTROL]

    @property
    def linksOut(self) -> int:
        """The same of those that they have asked others for."""
        return self.outgoing.total() - self.outgoing[CONTROL]

    @property
    def past(self) -> Figures:
        """What is left of them when the members are gone: what has been."""
        return replace(
            self,
            members=0,
            unanswered=0,
            mismatched=0,
            incoming=Counter(),
            outgoing=Counter(),
            held=0,
            unlisted=0,
            contested=0,
        )

    def write(self) -> dict[str, Any]:
        """Return them as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def readFigures(written: dict[str, Any]) -> Figures:
    """Return the figures that were written as JSON."""
    values: dict[str, Any] = {
        name: Counter(value) if isinstance(value, dict) else value
        for name, value in written.items()
    }
    for name in ("claims", "delays"):
        values[name] = Counter({int(bucket): count for bucket, count in written[name].items()})
    return Figures(**values)


def figuresOf(
    membership: Membership, directory: IDirectory, doors: Sequence[LinkFactory]
) -> Figures:
    """Return what goes on with a member now.

    :param doors: where links come in.
    """
    links, places = membership.links, membership.places
    strangers: Counter[str] = Counter()
    for door in doors:
        strangers += door.refused
    return Figures(
        members=1,
        unanswered=int(not directory.isAnswering),
        mismatched=int(directory.hasOtherSecrets),
        incoming=links.incomingBy.copy(),
        outgoing=links.outgoingBy.copy(),
        held=places.held,
        unlisted=places.unlisted - places.contested,
        contested=places.contested,
        losses=places.losses,
        claims=places.latencies.buckets.copy(),
        claimSeconds=places.latencies.seconds,
        commands=directory.commands,
        failures=directory.failures,
        outages=directory.outages,
        deaths=membership.liveness.deaths,
        cuts=links.cuts,
        faults=links.faults,
        strangers=strangers,
    )
