"""What a session asks for that takes time: a verdict on a token, and a place where to meet.

Owns how both are asked for, and what is done with an answer that comes too late. Knows nothing of
transports, framing or deadlines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from nymearemoteproxy.authentication.backend import BackendError, Verdict
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.meeting.place import Place, PlaceRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.registration import ClientRegistration
from nymearemoteproxy.protocol.session import Effects, Join, Register, Session
from nymearemoteproxy.tunnelproxy.ends import Origin

log = ProxyLogger()


def _ignore(_what: object) -> None:
    """Nobody is there any more."""


class Errands:
    """Runs them for one connection, one at a time.

    :param session: is told how each ended.
    :param perform: does what the session asks for then.
    :param failed: is told of a fault of ours.
    :ivar tunnel: the one that was found.
    """

    __slots__ = (
        "tunnel",
        "_proxy",
        "_record",
        "_session",
        "_perform",
        "_failed",
        "_later",
        "_pending",
    )

    def __init__(
        self,
        proxy: Proxy,
        record: Record,
        session: Session,
        perform: Callable[[Effects], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.tunnel: Tunnel | None = None
        self._proxy = proxy
        self._record = record
        self._session = session
        self._perform = perform
        self._failed = failed
        self._later: IDelayedCall | None = None
        self._pending: Deferred[Any] | None = None

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        later, self._later = self._later, None
        if later is not None:
            later.cancel()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()

    def forget(self) -> None:
        """There are no more: let go of the connection, which holds this, so that no cycle is left.

        An answer that still comes is for nobody, as a session that is over asks for nothing.
        """
        self._perform = self._failed = _ignore

    def checkToken(self, token: str, hasMore: Callable[[], bool]) -> None:
        """Have a token judged, as soon as all that has arrived is looked at.

        So it makes no difference how fast the backend is.

        :param hasMore: tells whether there is something left to be looked at.
        """
        self._later = self._proxy.clock.callLater(0, self._checkToken, token, hasMore)

    def _checkToken(self, token: str, hasMore: Callable[[], bool]) -> None:
        self._later = None  # it holds the token
        if hasMore():
            self.checkToken(token, hasMore)
            return
        begin = self._proxy.clock.seconds()
        asked = self._pending = maybeDeferred(self._proxy.authenticator.authenticate, token)
        asked.addBoth(self._tookTime, begin)
        self._await(asked, partial(self._judged, token), self._notJudged)

    def _tookTime(self, result: Any, begin: float) -> Any:
        took = self._proxy.clock.seconds() - begin
        self._proxy.registry.observers.tell(lambda observer: observer.authenticated(took))
        return result

    def _judged(self, token: str, verdict: Verdict) -> None:
        self._pending = None
        if verdict.accepted:
            self._record.subject = verdict.subject
            refusal = self._proxy.registry.named(self._record, self._session.role)
            if refusal is None:
                self._perform(self._session.accepted(token, verdict.subject))
            else:
                self._perform(self._session.limited(refusal))
        else:
            self._perform(self._session.refused())

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
        self._perform(self._session.backendFailed())

    def join(self, join: Join) -> None:
        """Find the partner of a client that is authenticated."""
        record, identity = self._record, join.identity
        record.name, record.uuid = identity.name, identity.uuid or ""
        self._pending = self._proxy.rendezvous.join(join.key, identity, self._look(), record)
        self._await(self._pending, self._found, self._notFound)

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
        self._await(switchboard.register(registration, origin), self._found, self._notFound)

    def _look(self) -> Callable[[], Deferred[bool]]:
        return partial(self._proxy.registry.presence.look, self._record)

    def _await(
        self,
        asked: Deferred[Any],
        succeeded: Callable[[Any], None],
        refused: Callable[[Failure], None],
    ) -> None:
        failed = self._failed  # which hears of a fault also after `forget`
        asked.addCallbacks(succeeded, refused)
        asked.addErrback(failed)

    def _found(self, place: Place) -> None:
        self._pending = None
        self.tunnel = place.tunnel
        if self._session.expectsPlace:
            self._perform(self._session.placed(place.partner))
        else:
            place.tunnel.abandon()  # too late: the client has left meanwhile

    def _notFound(self, failure: Failure) -> None:
        self._pending = None
        failure.trap(PlaceRefused, CancelledError)
        if self._session.expectsPlace:
            refusal: Any = failure.value
            self._perform(self._session.placeRefused(refusal.outcome))
