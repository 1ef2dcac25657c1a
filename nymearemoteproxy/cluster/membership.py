"""One member of a cluster, put together: its places, its links, and what it decides for others.

Owns which parts there are, and who is asked about which kind of place. Knows nothing of which
directory there is, nor of how links are made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from nymearemoteproxy.cluster.answering import Answerer, IHome
from nymearemoteproxy.cluster.asking import MemberGone, NobodyThere
from nymearemoteproxy.cluster.contests import Contests
from nymearemoteproxy.cluster.directory import Holder, IDirectory
from nymearemoteproxy.cluster.far import foreignRecord
from nymearemoteproxy.cluster.leftovers import Leftovers
from nymearemoteproxy.cluster.linkasking import LinkAsking
from nymearemoteproxy.cluster.linking import LINK_TIMEOUT, ILinker
from nymearemoteproxy.cluster.links import Links
from nymearemoteproxy.cluster.liveness import Liveness
from nymearemoteproxy.cluster.members import Members
from nymearemoteproxy.cluster.places import Kind, Places, PlaceSeat
from nymearemoteproxy.cluster.reclaiming import Reclaiming
from nymearemoteproxy.cluster.rendezvous import ClusterRendezvous
from nymearemoteproxy.cluster.switchboard import ClusterSwitchboard, FarOrigin
from nymearemoteproxy.connections.limits import sourceOf
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.meeting.place import Place
from nymearemoteproxy.meeting.rendezvous import Confirm, NobodyWaits, Rendezvous
from nymearemoteproxy.protocol.linkmessages import Meet, Visit
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.tunnelproxy.switchboard import Switchboard

GUEST = "guest:"
"""Before the number of a connection: stands in a `Look` for the client of the member that is asked,
which is connected to somebody of the member that asks."""

_GUEST = re.compile(GUEST + r"(\d{1,19})", re.ASCII)


@implementer(IHome)
class Membership:
    """Makes a proxy one member of a cluster.

    From then on its meeting place and its tunnel proxy are those that all members share.

    :param proxy: with a meeting place, and perhaps a tunnel proxy, of its own.
    :param member: its id.
    :param timeout: seconds in which a link is made, and in which each word on it has to come.
    :param mostLinks: that one other member may have here; 0 = no bound.
    """

    def __init__(
        self,
        proxy: Proxy,
        directory: IDirectory,
        linker: ILinker,
        member: bytes,
        timeout: float = LINK_TIMEOUT,
        mostLinks: int = 0,
    ) -> None:
        self._proxy = proxy
        self._directory = directory
        self._timeout = timeout
        self.links = Links(proxy.clock, mostLinks)
        members = Members(directory, linker)
        self.asking = LinkAsking(proxy, members, self.links, member, timeout)
        leftovers = Leftovers(directory)
        self.places = Places(proxy.clock, directory, member, leftovers, self._lost)
        self.reclaiming = Reclaiming(proxy.clock, directory, self.places, leftovers)
        self.contests = Contests(self.places, self.asking, self._contested)
        self.liveness = Liveness(proxy, self.links, members, member)
        local, switchboard = proxy.rendezvous, proxy.switchboard
        assert isinstance(local, Rendezvous)
        self.rendezvous = ClusterRendezvous(
            proxy.clock, local, self.places, self.asking, self.reclaiming.awake
        )
        proxy.rendezvous = self.rendezvous
        self.switchboard: ClusterSwitchboard | None = None
        if switchboard is not None:
            assert isinstance(switchboard, Switchboard)
            self.switchboard = ClusterSwitchboard(
                switchboard, directory, self.places, self.asking, self.reclaiming.awake
            )
            proxy.switchboard = self.switchboard

    def start(self) -> None:
        """Claim what is to be claimed, from time to time."""
        self.reclaiming.start()

    def stop(self) -> None:
        """Claim nothing more."""
        self.reclaiming.stop()

    def answerer(self, peer: bytes | None) -> Answerer:
        """Return what answers on a link that another member has opened.

        :param peer: the id of that member, if it is proven.
        """
        return Answerer(self._proxy, self, self.links, peer, self._timeout)

    # What is decided for others

    def meet(self, ask: Meet, confirm: Confirm) -> Deferred[Place]:
        seat = self.places.seat(ask.place)
        if seat is None or seat.kind is not Kind.KEY:
            return fail(NobodyWaits())
        look = partial(self._lookElsewhere, ask)
        return self.rendezvous.visit(seat, ask.identity, confirm, look)

    def visit(self, ask: Visit) -> Deferred[Place]:
        if self.switchboard is None:
            return fail(NobodyWaits())
        source = sourceOf(ask.host, self._proxy.registry.gate.bounds.exempt)
        look = partial(self._lookAtClient, ask)
        number, subject = ask.far.number, ask.subject
        origin = FarOrigin(
            number,
            ask.host,
            source,
            look,
            subject=subject,
            isVisitor=ask.isVisitor,
            isNamed=ask.isNamed,
            ask=ask,
        )
        return self.switchboard.visit(ask.registration, origin)

    def _lookElsewhere(self, ask: Meet | Visit) -> Deferred[bool]:
        """Find out whether a client of another member is still where it was connected to.

        What tells of its end may be on its way, behind all that it sent.
        """
        holder = Holder(ask.member, ask.claim)
        looked = self.asking.look(holder, f"{GUEST}{ask.far.number}")
        answered: Deferred[bool] = looked.addCallback(lambda _none: True)
        # Nobody takes the place of one that cannot be asked.
        return answered.addErrback(lambda failure: not failure.check(NobodyThere, MemberGone))

    def _lookAtClient(self, ask: Visit) -> Deferred[bool]:
        return self._lookElsewhere(ask).addCallback(self._lookedAtClient, ask)

    def _lookedAtClient(self, isThere: bool, ask: Visit) -> bool:
        assert self.switchboard is not None
        uuid, local = ask.registration.uuid, self.switchboard.local
        origin = local.origin(uuid)
        if not isThere and isinstance(origin, FarOrigin) and origin.ask is ask:
            local.drop(uuid)
        return isThere

    def visited(self, ask: Visit) -> Callable[[], object]:
        # A server is not sent away while it has a client, wherever that is.
        dismissal, now = self._proxy.registry.dismissal, self._proxy.clock.seconds()
        guest = foreignRecord(ask.far, now, isNeighbour=False)
        guest.role, guest.joined = Role.CLIENT, now
        guest.serverUuid = str(ask.registration.serverUuid)
        dismissal.joined(guest)
        return partial(dismissal.ended, guest)

    def look(self, place: str) -> Deferred[bool]:
        guest = _GUEST.fullmatch(place)
        if guest is not None:
            return self.asking.isGuest(int(guest[1]))
        seat = self.places.seat(place)
        if seat is None:
            return succeed(False)
        if seat.kind is Kind.KEY:
            return succeed(self.rendezvous.isInUse(seat))
        return succeed(False) if self.switchboard is None else self.switchboard.look(seat)

    def _lost(self, seat: PlaceSeat, holder: Holder) -> None:
        if seat.kind is Kind.KEY:
            self.rendezvous.lost(seat, holder)
        self.contests.doubt(seat, holder)

    def _contested(self, seat: PlaceSeat) -> None:
        if seat.kind is Kind.UUID and self.switchboard is not None:
            self.switchboard.lost(seat)
