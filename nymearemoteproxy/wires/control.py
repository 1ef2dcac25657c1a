"""The control phase on a wire: drives a session, performs its effects, keeps its deadline.

Owns what WebSocket and stream clients have in common before the tunnel, and what comes before
either: the TLS handshake and the PROXY header. Knows nothing of framing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.authentication import BackendError, Verdict
from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.presence import IPresent
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import CLOSING, CONNECTING, TCP, UNIX, IClient, Record
from nymearemoteproxy.meeting.rendezvous import Meeting, PairingRefused
from nymearemoteproxy.meeting.tunnel import Tunnel
from nymearemoteproxy.protocol.jsonrpc import MessageError
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.proxyheader import ProxyHeaderError
from nymearemoteproxy.protocol.registration import RegistrationRefused
from nymearemoteproxy.protocol.session import (
    CheckToken,
    Effects,
    Join,
    Register,
    RestartDeadline,
    Role,
    Send,
    StartTunnel,
    State,
)
from nymearemoteproxy.wires.introduction import IIntroductionListener
from nymearemoteproxy.wires.leg import Leg
from nymearemoteproxy.wires.transports import Linger, tuneTcp, tuneTunnelProxy

log = ProxyLogger()

CALLS_A_TURN = 4
"""Calls that are answered before others get their turn, as many as a client needs to have a tunnel:
one read may hold a hundred."""


@implementer(IClient)
class Phase:
    """One phase of a connection: has one deadline, and closes when it passes.

    To be mixed into a Twisted protocol.
    """

    transport: Any
    stage = CONNECTING

    def __init__(self, proxy: Proxy, record: Record) -> None:
        self.proxy = proxy
        self.record = record
        self._deadline: IDelayedCall | None = None
        record.client = self

    def setDeadline(self, seconds: float) -> None:
        """Have `deadlinePassed` called; replaces an earlier deadline."""
        self.clearDeadline()
        self._deadline = self.proxy.clock.callLater(seconds, self.deadlinePassed)

    def clearDeadline(self) -> None:
        """No deadline any more."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def deadlinePassed(self) -> None:
        """The time for this phase is over."""
        raise NotImplementedError

    def end(self, outcome: Outcome) -> None:
        """Close at once, for this reason."""
        self.clearDeadline()
        self.record.endsWith(outcome)
        self.transport.abortConnection()

    def next(self, phase: Any) -> None:
        """Hand the connection to its next phase."""
        self.clearDeadline()
        self.transport.switchProtocol(phase)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.clearDeadline()
        self.proxy.ended(self.record)

    def shutDown(self) -> None:
        self.end(Outcome.SHUTDOWN_WAITING)

    def abort(self) -> None:
        self.transport.abortConnection()


@implementer(IHandshakeListener, IIntroductionListener)
class Arrival(Phase, Protocol):
    """Waits for the PROXY header and then for the TLS handshake, or for one of them.

    :param behindProxy: there is a header to come.
    :param build: makes the next phase.
    """

    def __init__(
        self,
        proxy: Proxy,
        record: Record,
        behindProxy: bool,
        build: Callable[[Proxy, Record], IProtocol],
    ) -> None:
        super().__init__(proxy, record)
        self._build = build
        self._awaitsHeader = behindProxy

    @property
    def _shakesHands(self) -> bool:
        return self.record.secure and not self._awaitsHeader

    def connectionMade(self) -> None:
        self._limitTime()

    def _limitTime(self) -> None:
        timing = self.proxy.timing
        self.setDeadline(timing.tlsHandshake if self._shakesHands else timing.inactive)

    def introduced(self) -> None:
        self._awaitsHeader = False
        refusal = self.proxy.identified(self.record, self.transport.getPeer())
        if refusal is not None:
            self.end(refusal)
        elif self._shakesHands:
            self._limitTime()
        else:
            self.handshakeCompleted()

    def handshakeCompleted(self) -> None:
        self.next(self._build(self.proxy, self.record))

    def dataReceived(self, data: bytes) -> None:
        """Without TLS: what came with the header, in one read."""
        self.record.client.dataReceived(data)

    def deadlinePassed(self) -> None:
        isTls = self._shakesHands
        self.end(Outcome.TLS_HANDSHAKE_TIMEOUT if isTls else Outcome.INACTIVE_TIMEOUT)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ProxyHeaderError):
            self.record.endsWith(Outcome.PROXY_HEADER_INVALID)
        isTls = self._shakesHands
        self.record.endsWith(Outcome.TLS_HANDSHAKE_FAILED if isTls else Outcome.LEFT_EARLY)
        super().connectionLost(reason)


@implementer(IPresent, IPushProducer)
class Control(Phase, Protocol):
    """Runs one client's session; a subclass adds the framing.

    A client that does not read its answers is not read from either.
    """

    def __init__(self, proxy: Proxy, record: Record) -> None:
        super().__init__(proxy, record)
        self.session = proxy.newSession()
        self._blocked = False
        self._closing = False
        self._lost = False
        self._check: IDelayedCall | None = None
        self._pending: Deferred[Any] | None = None
        self._tunnel: Tunnel | None = None

    @property
    def stage(self) -> str:  # type: ignore[override]
        """Where the session stands."""
        state = self.session.state
        return CLOSING if state is State.CLOSED else state.value

    # What a subclass provides

    def feed(self, data: bytes) -> None:
        """Take in what arrived; without any data, what was left of it."""
        raise NotImplementedError

    def take(self) -> bytes | None:
        """Return the next whole message; None when there is none yet.

        :raises MessageError: something arrived that is no message.
        """
        raise NotImplementedError

    def holdsMore(self) -> bool:
        """True when more has arrived than `feed` looks at in one turn."""
        return False

    def holdsData(self) -> bool:
        """True when there is anything that `take` did not return, be it a part of a message."""
        raise NotImplementedError

    def sendMessage(self, data: bytes) -> None:
        """Write one message."""
        raise NotImplementedError

    def sayGoodbye(self, outcome: Outcome) -> None:
        """Tell the client why, if there is a way to, and stop sending."""
        raise NotImplementedError

    def makeLeg(self, start: StartTunnel) -> Leg:
        """Return the leg that takes the connection over."""
        raise NotImplementedError

    def handOver(self, leg: Leg) -> None:
        """Pass on what arrived behind the last message."""
        raise NotImplementedError

    def startWaiting(self) -> None:
        """The client waits for its partner from now on."""

    def afterMessages(self) -> None:
        """Look at what arrived besides messages."""

    def ask(self) -> Callable[[], bool]:
        """Have the client show that it is there; see `IPresent`."""
        raise NotImplementedError

    def drop(self, data: bytes) -> None:
        """Something arrived after we said goodbye."""

    # Events of the transport

    def connectionMade(self) -> None:
        timing = self.proxy.timing
        self.linger = Linger(self.proxy.clock, self.transport, timing.close)
        tuneTcp(self.transport, timing.ping, timing.pingAnswer)
        self.transport.registerProducer(self, True)
        self.setDeadline(timing.inactive)

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        self._look(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self.proxy.turns.leave(self._goOn)
        self.transport.unregisterProducer()
        self.perform(self.session.gone())
        self.linger.stop()
        super().connectionLost(reason)

    def pauseProducing(self) -> None:
        self._blocked = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._blocked = False
        self._goOn()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` deals with it."""

    def deadlinePassed(self) -> None:
        self.perform(self.session.deadlinePassed())

    def shutDown(self) -> None:
        self.perform(self.session.stopped())

    def pingTimedOut(self) -> None:
        self.end(Outcome.PING_TIMEOUT)

    # The session

    def _look(self, data: bytes) -> bool:
        """Look at what has arrived, one turn's worth of it; nothing is read until all is seen.

        :returns: whether the client is to be read from.
        """
        if self._closing:
            self.drop(data)
            isLeft = self.holdsMore()
        else:
            self.feed(data)
            isLeft = self._pump()
        # Calls of a client that does not take its answers are left until it does.
        if isLeft and not (self._blocked and self.session.expectsMessages):
            self.transport.pauseProducing()
            self.proxy.turns.wait(self._goOn, self._internalError)
            return False
        # Behind a registration all is the far end's.
        return not self._blocked and self.session.state not in (State.REGISTERING, State.TUNNELED)

    def _goOn(self) -> None:
        """Look at what is left; read again when all of it is seen, and not before."""
        if self._look(b""):
            self.transport.resumeProducing()

    def _pump(self) -> bool:
        """Pass on what has arrived, as far as the session and the client's reading allow.

        :returns: whether there is more, for a later turn.
        """
        session = self.session
        calls = 0
        while session.expectsMessages and not self._blocked and calls < CALLS_A_TURN:
            calls += 1
            try:
                message = self.take()
            except MessageError as error:
                self.perform(session.badMessage(error))
                break
            if message is None:
                break
            self.perform(session.messageReceived(message))
        if session.state in (State.AUTHENTICATING, State.WAITING) and self.holdsData():
            self.perform(session.dataReceived())
        if session.state is not State.TUNNELED:
            self.afterMessages()
        if session.state in (State.TUNNELED, State.REGISTERING):
            return False  # what is left is for the leg
        return (session.expectsMessages and calls == CALLS_A_TURN) or self.holdsMore()

    def perform(self, effects: Effects) -> None:
        """Do what the session asks for."""
        for effect in effects:
            match effect:
                case Send(data):
                    self.sendMessage(data)
                case RestartDeadline():
                    self.setDeadline(self.proxy.timing.inactive)
                case CheckToken(token):
                    self.setDeadline(self.proxy.timing.authentication)
                    # Not before all that has arrived is looked at, TLS record by TLS record, so
                    # that it makes no difference how fast the backend is.
                    self._check = self.proxy.clock.callLater(0, self._checkToken, token)
                case Join():
                    self._join(effect)
                case Register():
                    self._register(effect)
                case StartTunnel():
                    self._startTunnel(effect)
                case _:
                    self._close(effect.outcome)

    def _checkToken(self, token: str) -> None:
        self._check = None  # it holds the token
        if self.proxy.turns.isWaiting(self._goOn):
            self._check = self.proxy.clock.callLater(0, self._checkToken, token)
            return

        begin = self.proxy.clock.seconds()

        def tookTime(result: Any) -> Any:
            took = self.proxy.clock.seconds() - begin
            self.proxy.tell(lambda observer: observer.authenticated(took))
            return result

        def judged(verdict: Verdict) -> None:
            self._pending = None
            if verdict.accepted:
                self.record.subject = verdict.subject
                self.perform(self.session.accepted(token, verdict.subject))
            else:
                self.perform(self.session.refused())

        def failed(failure: Failure) -> None:
            if self.session.state is not State.AUTHENTICATING:
                return  # cancelled
            self._pending = None
            if failure.check(BackendError):
                log.error(
                    "connection {number} from {peer} cannot be authenticated by the "
                    "authentication server: {reason}",
                    event="authentication-error",
                    number=self.record.number,
                    peer=self.record.peer,
                    reason=str(failure.value),
                )
            else:
                log.failure("the authentication backend failed", failure)
            self.perform(self.session.backendFailed())

        asked = self._pending = maybeDeferred(self.proxy.authenticator.authenticate, token)
        asked.addBoth(tookTime)
        asked.addCallbacks(judged, failed)
        asked.addErrback(self._internalError)

    def _await(
        self,
        asked: Deferred[Any],
        state: State,
        succeeded: Callable[[Any], Effects],
        refused: Callable[[Any], Effects],
    ) -> None:
        """Wait in this state for a place in the meeting ring."""

        def found(place: Any) -> None:
            self._pending = None
            self._tunnel = tunnel = place.tunnel if isinstance(place, Meeting) else place
            if self.session.state is state:
                self.perform(succeeded(place))
            else:
                tunnel.abandon()  # too late: the client has left meanwhile

        def failed(failure: Failure) -> None:
            self._pending = None
            failure.trap(PairingRefused, RegistrationRefused, CancelledError)
            if self.session.state is state:
                self.perform(refused(failure.value))

        asked.addCallbacks(found, failed)
        asked.addErrback(self._internalError)

    def _join(self, join: Join) -> None:
        self.proxy.gate.authenticated(self.record.ticket)
        self.record.name, self.record.uuid = join.identity.name, join.identity.uuid or ""
        self.setDeadline(self.proxy.timing.alone)
        self.startWaiting()
        session = self.session
        look = partial(self.proxy.presence.look, self.record)
        self._pending = self.proxy.rendezvous.join(join.key, join.identity, look)
        self._await(
            self._pending,
            State.WAITING,
            lambda meeting: session.paired(meeting.partner),
            lambda refusal: session.pairingRefused(refusal.outcome),
        )

    def _register(self, register: Register) -> None:
        session = self.session
        self.transport.pauseProducing()  # what comes meanwhile is kept, in the kernel
        # Never cancelled: a place that is found too late is seen, and given up.
        self._await(
            self.proxy.register(self.record, register.registration),
            State.REGISTERING,
            lambda _tunnel: session.registered(),
            lambda refusal: session.registrationRefused(refusal.error, refusal.outcome),
        )

    def _internalError(self, failure: Failure) -> None:
        log.failure("connection {number}: internal error", failure, number=self.record.number)
        if self._tunnel is not None:
            self._tunnel.abandon()
        self.end(Outcome.INTERNAL_ERROR)

    def end(self, outcome: Outcome) -> None:
        self.record.endsWith(outcome)
        self.perform(self.session.gone())
        super().end(outcome)

    def _startTunnel(self, start: StartTunnel) -> None:
        assert self._tunnel is not None
        self.proxy.turns.leave(self._goOn)
        self._readFreely()
        self.transport.lowest.readMuch()
        self.record.role = start.role
        if start.role is not Role.PARTNER:
            self.proxy.gate.authenticated(self.record.ticket)
            tuneTunnelProxy(self.transport, start.role)
        leg = self.makeLeg(start)
        self.next(leg)
        self._tunnel.attach(leg)
        self.handOver(leg)

    def _close(self, outcome: Outcome) -> None:
        self.clearDeadline()
        self.record.endsWith(outcome)
        self._closing = True
        if self._check is not None:
            self._check.cancel()
            self._check = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        if not self._lost:
            self._readFreely()
            self.sayGoodbye(outcome)
            self.linger.start()

    def _readFreely(self) -> None:
        self._blocked = False
        self.transport.unregisterProducer()
        self.transport.resumeProducing()


class ProxyFactory(Factory):
    """Builds the first phase of every connection that a listener accepts.

    :param transport: WebSocket or stream; a stream is named after its address.
    :param secure: the connections are TLS.
    :param behindProxy: a PROXY header tells the client's address.
    :param build: makes the phase that begins with the client's own first byte.
    """

    noisy = False

    def __init__(
        self,
        proxy: Proxy,
        transport: str,
        secure: bool,
        behindProxy: bool,
        build: Callable[[Proxy, Record], IProtocol],
    ) -> None:
        self._proxy = proxy
        self._transport = transport
        self._secure = secure
        self._behindProxy = behindProxy
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> Any:
        assert addr is not None
        transport = self._transport
        if transport == TCP and isinstance(addr, UNIXAddress):
            transport = UNIX
        record = self._proxy.admit(addr, transport, self._secure)
        if record is None:
            return None
        if self._secure or self._behindProxy:
            return Arrival(self._proxy, record, self._behindProxy, self._build)
        return self._build(self._proxy, record)
