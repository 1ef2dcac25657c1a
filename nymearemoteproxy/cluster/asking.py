"""Asking another member: to let a client of ours meet one of its, or whether somebody is there.

Owns how a member is found, what is asked in which order, and how long an answer may take. Knows
nothing of who asks, nor of how a link is made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from nymearemoteproxy.cluster.directory import DirectoryError, Holder, IDirectory, Member
from nymearemoteproxy.cluster.far import describe, foreignRecord, isNeighbour
from nymearemoteproxy.cluster.linking import ILinker, LinkFailed, LinkRefused
from nymearemoteproxy.cluster.links import OPENING, Links
from nymearemoteproxy.cluster.remoteleg import RemoteLeg
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.linkmessages import (
    Answer,
    Ask,
    Denied,
    Far,
    Here,
    LineReader,
    Look,
    Meet,
    Met,
    NotHere,
    Offer,
    Visit,
    Wait,
    parseAnswer,
)
from nymearemoteproxy.protocol.linkrecords import LinkFault
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Identity
from nymearemoteproxy.tunnelproxy.ends import Origin

MOST_KNOWN = 1024
"""Members whose addresses are remembered, until they do not answer there; clusters are smaller."""


def _ignore() -> None:
    """Nobody wants to know."""


class NobodyThere(Exception):
    """The member says that nobody is at the place."""


class MemberGone(Exception):
    """The member is no more: nobody listens at its address, or its lease is over."""


class MemberUnknown(MemberGone):
    """The directory has no entry of it: its lease is over, or what the directory had is lost."""


class MemberSilent(Exception):
    """The member is there, but did not answer in time, or not as it should."""


class IAsking(Interface):
    """Asks other members.

    Each Deferred fails in bounded time with `NobodyThere`, `MemberGone` or `MemberSilent`.
    """

    def meet(holder: Holder, place: str, identity: Identity, record: Any) -> Deferred[Place]:
        """Join a client of ours with the one that waits at a place.

        :returns: also fails with `PlaceRefused`. Cancelling it gives up.
        """

    def visit(
        holder: Holder,
        place: str,
        registration: ClientRegistration,
        origin: Origin,
        release: Callable[[], object],
    ) -> Deferred[Place]:
        """Connect a client of ours to the server that is registered at a place.

        :param release: is called when the client has left its tunnel, or has got none.
        :returns: also fails with `PlaceRefused`.
        """

    def look(holder: Holder, place: str) -> Deferred[None]:
        """Fire if somebody is at a place."""


class Asker(Protocol):
    """One link, until there is an answer.

    :param timeout: seconds for each answer.
    :raises LinkFault: what is asked is too long for a line.
    :ivar answered: fires when the member has agreed, and fails with `NobodyThere`, `PlaceRefused`
        or `LinkFailed`.
    :ivar offer: whom the client is to meet.
    :ivar offered: is called before that is agreed to.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        ask: Ask,
        offered: Callable[[], object] = _ignore,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._ask = ask
        self._line = ask.encode()
        self.offered = offered
        self._lines = LineReader()
        self._deadline: IDelayedCall | None = None
        self.answered: Deferred[None] = Deferred()
        self.offer: Offer | None = None

    def connectionMade(self) -> None:
        self._restartDeadline()
        self.transport.write(self._line)

    def _restartDeadline(self) -> None:
        if self._deadline is not None:
            self._deadline.reset(self._timeout)
            return
        self._deadline = self._clock.callLater(self._timeout, self._fail, LinkFailed("no answer"))

    def _clearDeadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def dataReceived(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while not self.answered.called and (line := self._lines.take()) is not None:
                self._received(parseAnswer(line))
        except LinkFault as error:
            self._fail(LinkFailed(str(error)))

    def _received(self, answer: Answer) -> None:
        match answer:
            case Wait():
                self._restartDeadline()
            case Offer() if self._expectsOffer:
                self.offer = answer
                self.offered()
                self._restartDeadline()
                self.transport.write(Here().encode())
            case Met() if self._expectsMet:
                self._done()
            case Here() if isinstance(self._ask, Look):
                self._done()
            case Denied(outcome):
                self._fail(PlaceRefused(outcome))
            case NotHere():
                self._fail(NobodyThere())
            case _:
                self._fail(LinkFailed("word out of turn"))

    @property
    def _expectsOffer(self) -> bool:
        return isinstance(self._ask, Meet) and self.offer is None

    @property
    def _expectsMet(self) -> bool:
        return isinstance(self._ask, Visit) or self.offer is not None

    def _done(self) -> None:
        self._clearDeadline()
        self.answered.callback(None)

    def _fail(self, error: Exception) -> None:
        self.answered.errback(error)
        self.abort()

    def abort(self) -> None:
        """There is nothing more to be said."""
        self._clearDeadline()
        if self.transport is not None:
            self.transport.abortConnection()

    def rest(self) -> bytes:
        """Return what has arrived behind the last answer."""
        return self._lines.rest()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._clearDeadline()
        if not self.answered.called:
            self.answered.errback(LinkFailed("the link was closed"))


@implementer(IAsking)
class LinkAsking:
    """Asks over links.

    :param member: our own id.
    :param timeout: seconds in which a link is made, and in which each answer has to come.
    """

    def __init__(
        self,
        proxy: Proxy,
        directory: IDirectory,
        linker: ILinker,
        links: Links,
        member: bytes,
        timeout: float,
    ) -> None:
        self._proxy = proxy
        self._directory = directory
        self._linker = linker
        self._links = links
        self._member = member
        self._timeout = timeout
        self._known: OrderedDict[bytes, Member] = OrderedDict()
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
        ask = Visit(self._member, place, holder.claim, registration, origin.host, far)
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
        offered: Callable[[], object] = _ignore,
    ) -> Any:
        try:
            asker = Asker(self._proxy.clock, self._timeout, ask, offered)
        except LinkFault:
            raise PlaceRefused(Outcome.MESSAGE_TOO_LARGE) from None
        self._links.count(False, OPENING, 1)
        try:
            yield self.connect(holder.member, asker)
            yield asker.answered
        except CancelledError:
            asker.abort()
            raise
        except LinkFailed:
            isGone = yield self._isGone(holder.member)
            raise (MemberGone if isGone else MemberSilent) from None
        finally:
            self._links.count(False, OPENING, -1)
        return finish(asker)

    @inlineCallbacks
    def connect(self, id: bytes, protocol: Any) -> Any:
        """Open a link to a member.

        :returns: a Deferred that fires when the protocol has it, and fails with `MemberGone`,
            `MemberSilent` or `LinkFailed`.
        """
        try:
            member = yield self._find(id)
            yield self._linker.connect(member, protocol)
        except LinkRefused:
            raise MemberGone from None
        except DirectoryError:
            raise MemberSilent from None

    def describe(self, id: bytes) -> str:
        """Return what a member is called, for people."""
        member = self._known.get(id)
        if member is None:
            return f"member {id.hex()}"
        return f"{member.name or 'a member'} ({id.hex()}, at {member.address})"

    def _find(self, id: bytes) -> Deferred[Member]:
        found: Deferred[Member] = Deferred()
        known = self._known.get(id)
        if known is not None:
            found.callback(known)
            return found
        return self._directory.member(id).addCallback(self._found)

    def _found(self, member: Member | None) -> Member:
        if member is None:
            raise MemberUnknown
        self._known[member.id] = member
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return member

    @inlineCallbacks
    def _isGone(self, id: bytes) -> Any:
        """Tell whether the lease of a member that does not answer is over."""
        try:
            member = yield self._directory.member(id)
        except DirectoryError:
            return False
        if member is not None and id in self._known:
            self._known[id] = member  # it may be elsewhere by now
        return member is None


def _isThere() -> Deferred[bool]:
    return succeed(True)


def _leaving(failure: Failure, leave: Callable[[], object]) -> Failure:
    leave()
    return failure
