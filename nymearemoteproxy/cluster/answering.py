"""Answering other members: what their clients want of those that are at home here.

Owns what is said on a link before its records, and how long the other member may take. Knows
nothing of how a link is accepted, nor of who decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import Interface

from nymearemoteproxy.cluster.conversation import Conversation
from nymearemoteproxy.cluster.far import describe, foreignRecord, isNeighbour
from nymearemoteproxy.cluster.links import CONTROL, OPENING, Links
from nymearemoteproxy.cluster.liveness import CONTROL_TIMEOUT
from nymearemoteproxy.cluster.remoteleg import RemoteLeg
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.rendezvous import Confirm, NobodyWaits, WaiterLeft
from nymearemoteproxy.protocol.linkmessages import (
    ControlLink,
    Denied,
    Here,
    Look,
    Meet,
    Met,
    NotHere,
    Offer,
    Visit,
    Wait,
    parseAnswer,
    parseAsk,
)
from nymearemoteproxy.protocol.linkrecords import LinkFault
from nymearemoteproxy.protocol.session import Identity

log = ProxyLogger()


class IHome(Interface):
    """Decides for the places that are at home here."""

    def meet(ask: Meet, confirm: Confirm) -> Deferred[Place]:
        """Have a client of another member meet the one that waits at a place.

        :returns: fails with `PlaceRefused`, `NobodyWaits` or `WaiterLeft`.
        """

    def visit(ask: Visit) -> Deferred[Place]:
        """Connect a client of another member to the server that is registered at a place.

        :returns: fails with `PlaceRefused` or `NobodyWaits`.
        """

    def visited(ask: Visit) -> Callable[[], object]:
        """A client of another member is connected; what is returned is called when it has left."""

    def look(place: str) -> Deferred[bool]:
        """Find out whether somebody is at a place, or is a guest of the member that asks."""


class Answerer(Conversation):
    """One link that another member has opened, until it carries records or is over.

    :param peer: the id of the member, if that is proven.
    :param timeout: seconds for each word of the other member. Twice as often it is told to wait.
    """

    def __init__(
        self, proxy: Proxy, home: IHome, links: Links, peer: bytes | None, timeout: float
    ) -> None:
        super().__init__(proxy.clock)
        self._proxy = proxy
        self._home = home
        self._links = links
        self._peer = peer
        self._timeout = timeout
        self._ask: Meet | Visit | Look | ControlLink | None = None
        self._asked: Deferred[Any] | None = None
        self._confirmed: Deferred[bool] | None = None
        self._waiter: Record | None = None  # that its client is to meet
        self._state = ""  # as it is counted
        self._entered: bytes | None = None  # the member whose link it is counted as
        self._isLate = False  # it did not say in time whether its client is there
        self._isLost = False

    def _setState(self, state: str) -> None:
        if self._state:
            self._links.count(True, self._state, -1)
        if state:
            self._links.count(True, state, 1)
        self._state = state

    def _enter(self, member: bytes) -> bool:
        """Count as one of this member's; return whether it may have one more."""
        if not self._links.enter(member):
            return False
        self._entered = member
        return True

    def _leave(self) -> None:
        if self._entered is not None:
            self._links.leave(self._entered)
            self._entered = None

    # What the other member says

    def connectionMade(self) -> None:
        self._setState(OPENING)
        self.setTimer(self._timeout, self.abort)
        if self._peer is not None and not self._enter(self._peer):
            self.abort()

    def faultReceived(self, fault: LinkFault) -> None:
        self._links.fault(self._peer, str(fault))
        self.abort()

    def lineReceived(self, line: bytes) -> None:
        if self._ask is None:
            self._begin(parseAsk(line))
        elif isinstance(self._ask, ControlLink):
            if not isinstance(parseAnswer(line), Here):
                raise LinkFault("word out of turn")
            if self.transport.lowest.blocked:
                raise LinkFault("it does not read what it asked for")
            self.say(Here())
            self.prolong(CONTROL_TIMEOUT)
            self._links.heard(self._ask.member)
        elif self._confirmed is not None and isinstance(parseAnswer(line), Here):
            self._confirm(True)
        else:
            raise LinkFault("word out of turn")

    def _begin(self, ask: Meet | Visit | Look | ControlLink) -> None:
        if self._peer is not None and self._peer != ask.member:
            raise LinkFault("another member's id")
        self._ask = ask
        if isinstance(ask, ControlLink):
            self._leave()
            self._links.addControl(ask.member, self.abort)
            self._setState(CONTROL)
            self.setTimer(CONTROL_TIMEOUT, self.abort)
            return
        if self._entered is None and not self._enter(ask.member):
            self.abort()
            return
        self.setTimer(self._timeout / 2, self._keepWaiting)
        match ask:
            case Meet():
                asked: Deferred[Any] = self._home.meet(ask, self._offer)
            case Visit():
                asked = self._home.visit(ask)
            case _:
                asked = self._home.look(ask.place)
        self._asked = asked
        asked.addCallbacks(self._found, self._notFound).addErrback(self._failed)

    # What it is told

    def _keepWaiting(self) -> None:
        """It takes some time: the other member is not to give us up."""
        self.say(Wait())
        self.setTimer(self._timeout / 2, self._keepWaiting)

    def _offer(self, identity: Identity, record: Any) -> Deferred[bool]:
        self.say(Offer(identity, describe(record)))
        self._confirmed = Deferred()
        self._waiter = record
        self.setTimer(self._timeout, self._confirm)
        return self._confirmed

    def _confirm(self, isThere: bool = False) -> None:
        confirmed, self._confirmed = self._confirmed, None
        if confirmed is not None:
            self.clearTimer()
            self._isLate = not isThere
            confirmed.callback(isThere)

    def _found(self, found: Place | bool) -> None:
        self._asked = None
        self.clearTimer()
        if self._isLost:
            if isinstance(found, Place):
                found.tunnel.abandon()
            return
        if not isinstance(found, Place):
            self.say(Here() if found else NotHere())
            self.transport.loseConnection()
            return
        self.say(Met())
        leg = self._makeLeg()
        self._setState("")
        self._leave()
        self.transport.switchProtocol(leg)
        found.tunnel.attach(leg)

    def _makeLeg(self) -> RemoteLeg:
        ask = self._ask
        assert isinstance(ask, Meet | Visit)
        record: Record | None = None
        closed: Callable[[], object] | None = None
        if isinstance(ask, Meet):
            now = self._proxy.clock.seconds()
            record = foreignRecord(ask.far, now, isNeighbour(self.transport))
            record.partner = self._waiter  # so the tunnel is counted here
        else:
            closed = self._home.visited(ask)
        rest = self.rest()
        return RemoteLeg(self._proxy, self._links, ask.member, record, True, rest, closed)

    def _notFound(self, failure: Failure) -> None:
        self._asked = None
        self.clearTimer()
        error = failure.value
        if self._isLate or isinstance(error, WaiterLeft):
            self.abort()  # to be asked again: there is somebody
            return
        if isinstance(error, PlaceRefused):
            self.say(Denied(error.outcome))
        elif isinstance(error, NobodyWaits):
            self.say(NotHere())
        else:
            failure.trap(CancelledError)
        self.transport.loseConnection()

    def _failed(self, failure: Failure) -> None:
        """A fault of ours: the other member hears nothing, and asks again."""
        log.failure("a link of another member failed", failure)
        self.abort()

    # The end

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._isLost = True
        self._setState("")
        self._leave()
        if isinstance(self._ask, ControlLink):
            self._links.removeControl(self._ask.member, self.abort)
        self._confirm(False)
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
