"""A visitor at the front door: from its first byte until it is connected to a home, or turned away.

Owns the way from a name to a tunnel, whatever the name was said in. Knows nothing of TLS or HTTP;
a subclass reads one of them, and answers in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.presence import IPresent
from nymearemoteproxy.connections.records import CLOSING
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Role
from nymearemoteproxy.tunnelproxy.ends import Origin
from nymearemoteproxy.wires.leg import askTransport
from nymearemoteproxy.wires.limited import hasLimits
from nymearemoteproxy.wires.phase import Phase
from nymearemoteproxy.wires.stream import LimitedVisitorLeg, VisitorLeg
from nymearemoteproxy.wires.transports import Linger, tuneTcp, tuneTunnelProxy

log = ProxyLogger()

UNRECOGNIZED = (Outcome.UNKNOWN_NAME, Outcome.SERVER_NOT_FOUND, Outcome.VISITORS_NOT_WANTED)
"""Nothing tells a stranger which homes there are: for these it is the name that is not known."""

VISITOR = "front"
"""What visitors are called where clients have a name of their own."""


@implementer(IPresent)
class Visiting(Phase, Protocol):
    """Finds out which home is meant, and connects the visitor to it.

    What the home is sent begins with what the visitor sent first.

    :cvar timeoutOutcome: how it ends when the visitor does not say in time whom it wants.
    """

    timeoutOutcome: Outcome
    _linger: Linger
    _isAway = False  # it is gone, or told goodbye
    _first = b""
    _tunnel: Tunnel | None = None

    # What a subclass provides

    def patience(self) -> float:
        """Return the seconds that a visitor has to say whom it wants."""
        raise NotImplementedError

    def received(self, data: bytes) -> None:
        """Read something; `visit` or `turnAway` follows when it is enough."""
        raise NotImplementedError

    def explain(self, outcome: Outcome) -> bytes:
        """Return what a visitor is told that ends like this."""
        raise NotImplementedError

    def sent(self, leg: VisitorLeg) -> None:
        """The home was sent what it is to be sent first; what comes now is relayed."""

    # Events of the transport

    def connectionMade(self) -> None:
        timing = self.proxy.policy.timing
        self._linger = Linger(self.proxy.delays, self.transport, timing.close, self.record.number)
        self.setDeadline(self.patience())

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        if not self._isAway:
            self.received(data)

    def deadlinePassed(self) -> None:
        self.turnAway(Outcome.INACTIVE_TIMEOUT if self._first else self.timeoutOutcome)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._isAway = True
        self._linger.stop()
        self.record.endsWith(Outcome.LEFT_EARLY)
        super().connectionLost(reason)

    def ask(self) -> Callable[[], bool]:
        return askTransport(self.proxy, self.transport)

    def pingTimedOut(self) -> None:
        self.end(Outcome.PING_TIMEOUT)

    # The home

    def visit(self, name: str, first: bytes) -> None:
        """Look for the home that is called by a name.

        :param first: what it is sent before all else.
        """
        home = self.proxy.policy.names.find(name)
        if home is None:
            self.turnAway(Outcome.UNKNOWN_NAME)
            return
        record, switchboard = self.record, self.proxy.switchboard
        assert switchboard is not None  # there is no front door without it
        self._first = first
        registration = ClientRegistration(VISITOR, uuid4(), home.uuid)
        record.name, record.uuid = registration.name, str(registration.uuid)
        record.serverUuid = str(home.uuid)
        origin = Origin(
            record.number,
            record.host,
            record.ticket.source,
            partial(self.proxy.registry.presence.look, record),
            record,
            isVisitor=True,
            isNamed=home.isNamed,
        )
        asked = maybeDeferred(switchboard.register, registration, origin)
        asked.addCallbacks(self._found, self._notFound).addErrback(self._failed)
        if self._tunnel is None and not self._isAway:  # it is still looked for
            self.setDeadline(self.proxy.policy.timing.inactive)
            self.transport.pauseProducing()  # what comes meanwhile is kept, in the kernel

    def _found(self, place: Place) -> None:
        if self._isAway:
            place.tunnel.abandon()  # too late
            return
        self._tunnel = place.tunnel
        record, first = self.record, self._first
        record.role = Role.CLIENT
        self.proxy.registry.authenticated(record)
        timing = self.proxy.policy.timing
        tuneTcp(self.transport, timing.ping, timing.pingAnswer)
        tuneTunnelProxy(self.transport, Role.CLIENT)
        self.transport.lowest.readMuch()
        leg = self.makeLeg()
        self.next(leg)
        place.tunnel.attach(leg)
        record.received -= len(first)  # counted there
        leg.dataReceived(first)
        self.sent(leg)

    def makeLeg(self) -> VisitorLeg:
        """Return the leg that takes the connection over."""
        legClass = LimitedVisitorLeg if hasLimits(self.proxy, Role.CLIENT) else VisitorLeg
        return legClass(self.proxy, self.record, self._linger)

    def _notFound(self, failure: Failure) -> None:
        failure.trap(PlaceRefused)
        refusal: Any = failure.value
        refusal.with_traceback(None)  # which refers to all that waited for it
        if not self._isAway:
            self.turnAway(refusal.outcome)

    def _failed(self, failure: Failure) -> None:
        """A fault of ours: it costs this connection."""
        log.fault(self.record.number, failure)
        self.record.endsWith(Outcome.INTERNAL_ERROR)  # not with the end of its tunnel
        if self._tunnel is not None:
            self._tunnel.abandon()
        self.end(Outcome.INTERNAL_ERROR)

    # The end

    def end(self, outcome: Outcome) -> None:
        self._isAway = True
        super().end(outcome)

    def shutDown(self) -> None:
        if not self._isAway:
            self.turnAway(Outcome.SHUTDOWN_WAITING)

    def turnAway(self, outcome: Outcome) -> None:
        """Say why, and close."""
        self._isAway = True
        self.stage = CLOSING
        self.clearDeadline()
        self.record.endsWith(outcome)
        answer = self.explain(outcome)
        self.record.sent += len(answer)
        self.transport.write(answer)
        self.transport.resumeProducing()
        self._linger.stopSending()
        self._linger.drop()
