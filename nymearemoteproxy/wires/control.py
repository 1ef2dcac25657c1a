"""The control phase on a wire: drives a session, performs its effects, keeps its deadline.

Owns what WebSocket and stream clients have in common before the tunnel. Knows nothing of framing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.logs import ProxyLogger
from nymearemoteproxy.connections.presence import IPresent
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import CLOSING, Record
from nymearemoteproxy.protocol.jsonrpc import CALLS_A_TURN, MessageError
from nymearemoteproxy.protocol.outcomes import Outcome
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
from nymearemoteproxy.wires.errands import Errands, IClientOfErrands
from nymearemoteproxy.wires.leg import Leg
from nymearemoteproxy.wires.phase import Phase
from nymearemoteproxy.wires.transports import Linger, tuneTcp, tuneTunnelProxy

log = ProxyLogger()


@implementer(IClientOfErrands, IPresent, IPushProducer)
class Control(Phase, Protocol):
    """Runs one client's session; a subclass adds the framing.

    A client that does not read its answers is not read from either.

    :cvar gathers: messages that are sent at one moment are one write. Some stream clients of API
        0.3 take whatever they read for one message, so there each is a write of its own.
    """

    gathers = False

    def __init__(self, proxy: Proxy, record: Record) -> None:
        super().__init__(proxy, record)
        self.session = proxy.newSession()
        self._blocked = False
        self._closing = False
        self._lost = False
        self._unsent = b""
        self._errands = Errands(self, proxy, record, self.session)

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

    def framed(self, message: bytes) -> bytes:
        """Return one message of ours as it is sent."""
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
        timing = self.proxy.policy.timing
        self.linger = Linger(self.proxy.delays, self.transport, timing.close, self.record.number)
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
        self._errands.forget()

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

    def dismiss(self, outcome: Outcome) -> None:
        if self.session.gone():
            self._close(outcome)

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
            self.proxy.turns.wait(self._goOn, self.failed)
            return False
        # Behind a registration all is the far end's.
        return not self._blocked and not self.session.leavesTheRest

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
        if not session.leavesTheRest:
            self.afterMessages()
        if session.leavesTheRest:
            return False  # what is left is for the leg
        return (session.expectsMessages and calls == CALLS_A_TURN) or self.holdsMore()

    def hasMore(self) -> bool:
        """Tell whether something is left to be looked at, TLS record by TLS record."""
        return self.proxy.turns.isWaiting(self._goOn)

    def perform(self, effects: Effects) -> None:
        """Do what the session asks for.

        Messages go out before anything else is done with the connection. If they are gathered,
        whose partner waits already gets the answer and the notification in one write.
        """
        for effect in effects:
            if isinstance(effect, Send):
                self._unsent += self.framed(effect.data)
                continue
            if not (self.gathers and isinstance(effect, Join)):
                self._flush()
            match effect:
                case RestartDeadline():
                    self.setDeadline(self.proxy.policy.timing.inactive)
                case CheckToken(token):
                    if self.session.leavesTheRest:
                        self.transport.pauseProducing()  # what comes is kept, in the kernel
                    self.setDeadline(self.proxy.policy.timing.authentication)
                    self._errands.checkToken(token)
                case Join():
                    self.proxy.registry.authenticated(self.record)
                    self.setDeadline(self.proxy.policy.timing.alone)
                    self.startWaiting()
                    self._errands.join(effect)
                case Register():
                    self.transport.pauseProducing()  # what comes meanwhile is kept, in the kernel
                    self._errands.register(effect)
                case StartTunnel():
                    self._startTunnel(effect)
                case _:
                    self._close(effect.outcome)
        self._flush()

    def _flush(self) -> None:
        """Write what is to be sent."""
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self.write(unsent)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.record.sent += len(data)
        self.transport.write(data)

    def failed(self, failure: Failure) -> None:
        log.fault(self.record.number, failure)
        self.record.endsWith(Outcome.INTERNAL_ERROR)  # not with the end of its tunnel
        if self._errands.tunnel is not None:
            self._errands.tunnel.abandon()
        self.end(Outcome.INTERNAL_ERROR)

    def end(self, outcome: Outcome) -> None:
        self.record.endsWith(outcome)
        self.perform(self.session.gone())
        super().end(outcome)

    def _startTunnel(self, start: StartTunnel) -> None:
        tunnel = self._errands.tunnel
        assert tunnel is not None
        self.proxy.turns.leave(self._goOn)
        self._readFreely()
        self.transport.lowest.readMuch()
        self.record.role = start.role
        if start.role is not Role.PARTNER:
            self.proxy.registry.authenticated(self.record)
            tuneTunnelProxy(self.transport, start.role)
        leg = self.makeLeg(start)
        self.next(leg)
        tunnel.attach(leg)
        self.handOver(leg)
        self._errands.forget()

    def _close(self, outcome: Outcome) -> None:
        self.clearDeadline()
        self.record.endsWith(outcome)
        self._closing = True
        self._errands.cancel()
        if not self._lost:
            self._readFreely()
            self.sayGoodbye(outcome)
            self.linger.drop()
            self.drop(b"")  # what was kept for the leg there is none of: its farewell, maybe

    def _readFreely(self) -> None:
        self._blocked = False
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
