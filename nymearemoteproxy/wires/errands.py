"""What a session asks for that takes time: a verdict on a token, and a place where to meet.

Owns how both are asked for, and what is done with an answer that comes too late. Knows nothing of
transports, framing or deadlines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from nymearemoteproxy.authentication.backend import BackendError, Verdict
from nymearemoteproxy.common.delays import Delay
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.meeting.place import Look, Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Effects, Join, Register, Session
from nymearemoteproxy.tunnelproxy.ends import Origin

log = ProxyLogger()


class IClientOfErrands(Interface):
    """Whoever has errands run."""

    def hasMore() -> bool:
        """Tell whether something that has arrived is still to be looked at."""

    def perform(effects: Effects) -> None:
        """Do what the session asks for, now that an errand has ended."""

    def failed(failure: Failure) -> None:
        """A fault of ours: it costs this connection."""


@implementer(IClientOfErrands)
class _Gone:
    """Stands for a client that is there no more.

    :param number: of its connection.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def hasMore(self) -> bool:
        return False

    def perform(self, effects: Effects) -> None:
        """Nobody is there."""

    def failed(self, failure: Failure) -> None:
        log.fault(self._number, failure)


class Errands:
    """Runs them for one connection, one at a time.

    :param session: is told how each ended.
    :ivar tunnel: the one that was found.
    """

    __slots__ = (
        "tunnel",
        "_client",
        "_proxy",
        "_record",
        "_session",
        "_later",
        "_token",
        "_pending",
    )

    def __init__(
        self, client: IClientOfErrands, proxy: Proxy, record: Record, session: Session
    ) -> None:
        self.tunnel: Tunnel | None = None
        self._client = client
        self._proxy = proxy
        self._record = record
        self._session = session
        self._later: Delay | None = None
        self._token = ""
        self._pending: Deferred[Any] | None = None

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        later, self._later = self._later, None
        if later is not None:
            later.remove(self._checkToken)
            self._token = ""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()

    def forget(self) -> None:
        """There are no more: let go of the connection, which holds this, so that no cycle is left.

        An answer that still comes is for nobody, as a session that is over asks for nothing.
        """
        self._client = _Gone(self._record.number)

    def checkToken(self, token: str) -> None:
        """Have a token judged, as soon as all that has arrived is looked at.

        So it makes no difference how fast the backend is.
        """
        self._token = token
        self._later = self._proxy.delays.start(0, self._checkToken)

    def _checkToken(self) -> None:
        token, self._token = self._token, ""
        self._later = None
        if self._client.hasMore():
            self.checkToken(token)
            return
        begin = self._proxy.clock.seconds()
        asked = self._pending = maybeDeferred(self._proxy.authenticator.authenticate, token)
        asked.addBoth(self._answered, token, begin)

    def _answered(self, answer: Verdict | Failure, token: str, begin: float) -> None:
        took = self._proxy.clock.seconds() - begin
        self._proxy.registry.observers.tell(lambda observer: observer.authenticated(took))
        if isinstance(answer, Failure):
            self._settle(self._notJudged, answer)
        else:
            self._settle(self._judged, answer, token)

    def _settle(self, settle: Callable[..., None], *answer: Any) -> None:
        failed = self._client.failed  # which hears of a fault also after `forget`
        try:
            settle(*answer)
        except Exception:
            failed(Failure())

    def _judged(self, verdict: Verdict, token: str) -> None:
        self._pending = None
        if verdict.accepted:
            self._record.subject = verdict.subject
            refusal = self._proxy.registry.named(self._record, self._session.role)
            if refusal is None:
                self._client.perform(self._session.accepted(token, verdict.subject))
            else:
                self._client.perform(self._session.limited(refusal))
        else:
            self._client.perform(self._session.refused())

    def _notJudged(self, failure: Failure) -> None:
        if not self._session.expectsVerdict:
            return  # cancelled
        self._pending = None
        error = failure.value
        if isinstance(error, BackendError):
            log.error(
                "connection {number} from {peer} cannot be authenticated by {by}: {reason}",
                event="authentication-error",
                number=self._record.number,
                peer=self._record.peer,
                by=error.by,
                reason=str(error),
            )
        else:
            log.failure("the authentication backend failed", failure)
        self._client.perform(self._session.backendFailed())

    def join(self, join: Join) -> None:
        """Find the partner of a client that is authenticated."""
        record, identity = self._record, join.identity
        record.name, record.uuid = identity.name, identity.uuid or ""
        self._pending = self._proxy.rendezvous.join(join.key, identity, self._look(), record)
        self._pending.addBoth(self._placed)

    def register(self, register: Register) -> None:
        """Find a place in the tunnel proxy.

        It is never cancelled: one that is found too late is seen, and given up.
        """
        record, switchboard = self._record, self._proxy.switchboard
        assert switchboard is not None  # or there would be no such method to call
        registration = register.registration
        record.name, record.uuid = registration.name, str(registration.uuid)
        if isinstance(registration, ClientRegistration):
            record.serverUuid = str(registration.serverUuid)
        source = record.ticket.source
        origin = Origin(record.number, record.host, source, self._look(), record, register.subject)
        switchboard.register(registration, origin).addBoth(self._placed)

    def _look(self) -> Look:
        # Not a method of this object, which has the tunnel: what is at its other end keeps it.
        return partial(self._proxy.registry.presence.look, self._record)

    def _placed(self, answer: Place | Failure) -> None:
        if isinstance(answer, Failure):
            self._settle(self._notFound, answer)
        else:
            self._settle(self._found, answer)

    def _found(self, place: Place) -> None:
        self._pending = None
        self.tunnel = place.tunnel
        if self._session.expectsPlace:
            self._client.perform(self._session.placed(place.partner))
        else:
            place.tunnel.abandon()  # too late: the client has left meanwhile

    def _notFound(self, failure: Failure) -> None:
        self._pending = None
        failure.trap(PlaceRefused, CancelledError)
        if self._session.expectsPlace:
            refusal: Any = failure.value
            self._client.perform(self._session.placeRefused(refusal.outcome))
