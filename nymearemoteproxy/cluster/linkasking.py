"""Asks other members over links, one for each question.

Owns what becomes of a link whose question is answered, and which clients of ours are at other
members. Knows nothing of who asks, nor of how a member is found.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.cluster.asker import Asker
from nymearemoteproxy.cluster.asking import IAsking, MemberGone, MemberSilent
from nymearemoteproxy.cluster.directory import Holder
from nymearemoteproxy.cluster.far import describe, foreignRecord, isNeighbour
from nymearemoteproxy.cluster.linking import LinkFailed
from nymearemoteproxy.cluster.links import OPENING, Links
from nymearemoteproxy.cluster.members import Members
from nymearemoteproxy.cluster.remoteleg import RemoteLeg
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.linkmessages import Ask, Far, Look, Meet, Visit
from nymearemoteproxy.protocol.linkrecords import LinkFault
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity
from nymearemoteproxy.tunnelproxy.ends import Origin


@implementer(IAsking)
class LinkAsking:
    """Asks over links.

    :param member: our own id.
    :param timeout: seconds in which each answer has to come.
    """

    def __init__(
        self,
        proxy: Proxy,
        members: Members,
        links: Links,
        member: bytes,
        timeout: float,
    ) -> None:
        self._proxy = proxy
        self._members = members
        self._links = links
        self._member = member
        self._timeout = timeout
        # Our clients at other members, by the numbers of their connections.
        self._guests: dict[int, Callable[[], Deferred[bool]]] = {}

    def isGuest(self, number: int) -> Deferred[bool]:
        """Find out whether a client of ours is where it was connected to, at another member.

        One that has been offered a partner is, one that still asks for one is not.
        """
        look = self._guests.get(number)
        return succeed(False) if look is None else look()

    def meet(self, holder: Holder, place: str, identity: Identity, record: Any) -> Deferred[Place]:
        far = describe(record)
        ask = Meet(self._member, place, holder.claim, identity, far)
        enter = partial(self._guests.__setitem__, far.number, _isThere)
        leave = partial(self._guests.pop, far.number, None)
        met = self._ask(holder, ask, partial(self._meets, holder, leave), enter)
        return met.addErrback(_leaving, leave)

    def _meets(self, holder: Holder, leave: Callable[[], object], asker: Asker) -> Place:
        offer = asker.offer
        assert offer is not None
        return Place(self._open(holder, asker, offer.far, leave), offer.identity)

    def visit(
        self,
        holder: Holder,
        place: str,
        registration: ClientRegistration,
        origin: Origin,
        release: Callable[[], object],
    ) -> Deferred[Place]:
        far = describe(origin.record)
        ask = Visit(
            self._member,
            place,
            holder.claim,
            registration,
            origin.host,
            far,
            origin.subject,
            origin.isVisitor,
            origin.isNamed,
        )
        self._guests[far.number] = origin.look

        def leave() -> None:
            self._guests.pop(far.number, None)
            release()

        visited = self._ask(holder, ask, lambda by: Place(self._open(holder, by, None, leave)))
        return visited.addErrback(_leaving, leave)

    def look(self, holder: Holder, place: str) -> Deferred[None]:
        ask = Look(self._member, place, holder.claim)
        return self._ask(holder, ask, Asker.abort)

    def _open(
        self, holder: Holder, asker: Asker, far: Far | None, release: Callable[[], object]
    ) -> Tunnel:
        record = None
        if far is not None:
            now = self._proxy.clock.seconds()
            record = foreignRecord(far, now, isNeighbour(asker.transport))
        leg = RemoteLeg(
            self._proxy, self._links, holder.member, record, isHome=False, rest=asker.rest()
        )
        asker.transport.switchProtocol(leg)
        tunnel = Tunnel(release)
        tunnel.attach(leg)
        return tunnel

    @inlineCallbacks
    def _ask(
        self,
        holder: Holder,
        ask: Ask,
        finish: Callable[[Asker], Any],
        offered: Callable[[], object] | None = None,
    ) -> Any:
        try:
            asker = Asker(self._proxy.clock, self._timeout, ask, offered)
        except LinkFault:
            raise PlaceRefused(Outcome.MESSAGE_TOO_LARGE) from None
        self._links.count(False, OPENING, 1)
        try:
            yield self._members.connect(holder.member, asker)
            yield asker.answered
        except CancelledError:
            asker.abort()
            raise
        except LinkFailed:
            isGone = yield self._members.isGone(holder.member)
            raise (MemberGone if isGone else MemberSilent) from None
        finally:
            self._links.count(False, OPENING, -1)
        return finish(asker)


def _isThere() -> Deferred[bool]:
    return succeed(True)


def _leaving(failure: Failure, leave: Callable[[], object]) -> Failure:
    leave()
    return failure
