"""Owns the way through a proxy: Twisted client endpoints whose connections are tunnels.

What the server's control messages mean is ``joining``'s and ``registering``'s business, whom to
trust is ``tls``'s. Nothing here may know standard input and output, or the global reactor.
"""

from __future__ import annotations

import socket
import uuid as uuids
from collections.abc import Callable
from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from nymearemoteproxy import __version__
from nymearemoteproxy.client.controlphase import ControlPhase, TunnelError, oneLine
from nymearemoteproxy.client.heartbeat import INTERVAL, Heartbeat
from nymearemoteproxy.client.joining import Joining
from nymearemoteproxy.client.reasons import FIRST_WORDS, SILENT, meantScheme, whyNotConnected
from nymearemoteproxy.client.registering import ClientRegistration, Probe, ServerRegistration
from nymearemoteproxy.client.trust import ServerCheck, TlsOptions, isNoTls
from nymearemoteproxy.client.tunneltransport import (
    StreamTransport,
    TunnelTransport,
    WebSocketTransport,
)
from nymearemoteproxy.client.urls import ProxyUrl

txaio.use_twisted()

DEFAULT_NAME = "nymea-remoteproxy-client"

# Seconds. The server gives each step up to the answer 5 to 8 seconds.
DEFAULT_TIMEOUT = 30.0

# Seconds a server may take to close the connection after the closing handshake; nothing can follow
# that one.
DROP_TIMEOUT = 5.0

# Autobahn itself reads an HTTP answer's header without any limit.
MAX_HTTP_HEADER_SIZE = 16 * 1024

# TCP asks a proxy that has been silent for `INTERVAL` this often, with so many seconds between,
# before it gives the connection up: within the minute after which the proxy gives up a server.
KEEPALIVE_PROBES = 3
KEEPALIVE_PROBE_INTERVAL = 10

# Bytes that the kernel takes beyond what is on its way: what one client of a server is sent waits
# behind what others are.
MAX_UNSENT = 128 * 1024

# Why a WebSocket server closed: the request was wrong, and would be again. Not 1008: who is refused
# gets an answer first, and without one it means that our request was too long on its way.
_PERMANENT_CLOSE_CODES = (1002, 1003, 1007, 1009, 1010)

# What a reverse proxy answers while the proxy behind it is away or busy.
_TRANSIENT_HTTP_STATUS = {str(status) for status in (408, 425, 429, *range(500, 600))}


class _Leg:
    """What both kinds of connection to a proxy share: the start, which TLS delays, and the end."""

    transport: Any

    def __init__(self, attempt: _Attempt) -> None:
        self.attempt = attempt
        self.tunnel: TunnelTransport | None = None
        self._said = b""
        self._isTls = False
        # Never two on one object: the wrapper of Twisted's endpoints passes on the last one only.
        alsoProvides(self, IHalfCloseableProtocol if attempt.check is None else IHandshakeListener)

    def begin(self) -> None:
        """Nothing may be sent to the server before this."""
        raise NotImplementedError

    def readConnectionLost(self) -> None:
        """The proxy closed its direction, on a plain stream."""
        if self.tunnel is None:
            self.transport.loseConnection()
        else:
            self.tunnel.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Our direction is closed, as the tunnel's protocol wanted it."""
        if self.tunnel is not None:
            self.tunnel.writeConnectionLost()

    def connectionMade(self) -> None:
        """The connection is up, except for TLS."""
        self.attempt.connected(self)
        # Not by interface: Twisted 22.4's Unix sockets claim to be TCP.
        if self.attempt.url.scheme != "unix":
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
            isPlain = self.attempt.check is None
            _tuneTcp((self.transport if isPlain else self.transport.transport).getHandle())
        if self.attempt.check is None:
            self.begin()

    def handshakeCompleted(self) -> None:
        """TLS is up."""
        assert self.attempt.check is not None
        try:
            self.attempt.check.checkServer(self.transport.getHandle())
        except TunnelError as problem:
            self.attempt.fail(problem)
        else:
            self._isTls = True
            self.begin()

    def controlReceived(self, data: bytes) -> bytes:
        """Pass ``data`` on to the control phase and return what follows it."""
        try:
            rest = self.attempt.control.receive(data)
        except TunnelError as problem:
            self.failed(problem)
            return b""
        if self.attempt.control.waiting:
            self.attempt.accepted()
        return rest

    def heard(self, data: bytes) -> None:
        """Remember how the server began."""
        self._said = (self._said + data)[:FIRST_WORDS]

    def failed(self, problem: TunnelError) -> None:
        """There is no tunnel, perhaps since the server speaks something else than we do."""
        meant = ""
        if not self.attempt.endpoint.isRight:
            meant = meantScheme(self.attempt.url.scheme, self._said, self._isTls)
        self.attempt.fail(TunnelError(f"{problem}{meant}", problem.isTransient))

    def refusal(self, words: str | None) -> TunnelError:
        """Return what it means that the server closed the connection, and said ``words``, instead
        of an answer.
        """
        how = f": {words}" if words else " without an answer"
        return TunnelError(f"the server closed the connection{how}", isTransient=True)

    def ended(self, reason: Failure, words: str | None) -> None:
        """The connection is gone: with ``words`` not in the way it should."""
        if self.tunnel is None:
            self.attempt.lost(self, reason, words)
        else:
            if isinstance(reason.value, SSL.Error) and self.attempt.check is not None:
                words = str(self.attempt.check.explain(reason.value))
            if words is not None:
                reason = Failure(error.ConnectionLost(words))
            self.tunnel.lost(reason)
            self.attempt.factory.doStop()


class _StreamLeg(_Leg, Protocol):
    """A connection to a proxy over TCP, TLS or a Unix socket."""

    transport: Any
    _seenPayload = False

    def begin(self) -> None:
        self.transport.write(self.attempt.control.request)

    def dataReceived(self, data: bytes) -> None:
        if self.tunnel is None:
            self.heard(data)
            data = self.controlReceived(data)
            partner = self.attempt.control.partner
            if partner is not None:
                self.attempt.establish(
                    lambda protocol: StreamTransport(
                        self.attempt.check is None,
                        self.attempt.reactor,
                        self.transport,
                        partner,
                        protocol,
                    )
                )
        if self.tunnel is not None and data:
            if not self._seenPayload:
                # The last message's end, which may come in a read of its own.
                self._seenPayload = True
                data = data.removeprefix(b"\n")
            if data:
                self.tunnel.deliver(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended(reason, None)


class _WebSocketLeg(_Leg, WebSocketClientProtocol):  # type: ignore[misc]
    """A connection to a proxy over WebSocket."""

    # Autobahn sets it when the answer's header is there.
    http_status_line = ""

    def __init__(self, attempt: _Attempt) -> None:
        _Leg.__init__(self, attempt)
        WebSocketClientProtocol.__init__(self)
        self.heartbeat = Heartbeat(attempt.reactor, self.sendPing, self._silent)
        self._begun = False
        self._isOpen = False
        self._isSilent = False
        self._dropping: Any = None

    def begin(self) -> None:
        self._begun = True
        WebSocketClientProtocol.connectionMade(self)

    def dataReceived(self, data: bytes) -> None:
        self.heartbeat.heard()
        if self.state != self.STATE_CONNECTING:
            super().dataReceived(data)
            return
        self.heard(data)
        try:
            super().dataReceived(data)
        except Exception as problem:  # bad HTTP makes Autobahn's parser stumble in many ways
            self.failed(self.attempt.control.stranger(f"HTTP answer: {problem}"))
        if self.state == self.STATE_CONNECTING and len(self.data) > MAX_HTTP_HEADER_SIZE:
            self.failed(self.attempt.control.stranger("its HTTP answer has no end"))

    def onOpen(self) -> None:
        self._isOpen = True
        # The server sends a stream's bytes in messages of the type that this one has, and bytes are
        # no text.
        self.sendMessage(self.attempt.control.request, isBinary=True)
        self.heartbeat.start()

    # The frame callbacks replace Autobahn's, which collect whole messages.

    def onMessageBegin(self, isBinary: bool) -> None:
        pass

    def onMessageFrameBegin(self, length: int) -> None:
        pass

    def onMessageFrameData(self, payload: bytes) -> None:
        if self.tunnel is not None:
            if payload:
                self.tunnel.deliver(payload)
        elif self.attempt.control.partner is None:
            self.controlReceived(payload)

    def onMessageFrameEnd(self) -> None:
        pass

    def onMessageEnd(self) -> None:
        partner = self.attempt.control.partner
        if self.tunnel is None and partner is not None:
            # The tunnel begins with the message after the control phase's last, however much that
            # one holds.
            self.attempt.establish(
                lambda protocol: WebSocketTransport(
                    self, self.attempt.reactor, self.transport, partner, protocol
                )
            )

    def onCloseFrame(self, code: Any, reasonRaw: Any) -> bool | None:
        handled: bool | None = super().onCloseFrame(code, reasonRaw)
        if self._dropping is None:
            self._dropping = self.attempt.reactor.callLater(DROP_TIMEOUT, self._drop)
        return handled

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.heartbeat.stop()
        if self._dropping is not None and self._dropping.active():
            self._dropping.cancel()
        if not self._begun:
            self.ended(reason, None)
            return
        super().connectionLost(reason)
        words = None
        if self._isSilent:
            words = SILENT
        elif not self.wasClean:
            words = self.attempt.control.redacted(self.wasNotCleanReason or "connection lost")
        elif self.remoteCloseCode not in (None, self.CLOSE_STATUS_CODE_NORMAL):
            text = self.remoteCloseReason or "no reason given"
            words = f"{self.attempt.control.redacted(text)} ({self.remoteCloseCode})"
        elif self.tunnel is None:
            words = self.attempt.control.redacted(self.remoteCloseReason or "no reason given")
        self.ended(connectionDone if self.wasClean else reason, words)

    def refusal(self, words: str | None) -> TunnelError:
        """See ``_Leg``; a WebSocket server says more."""
        if self._isSilent:
            return TunnelError(SILENT, isTransient=True)
        if not self._isOpen and not self.http_status_line:
            return super().refusal(None)
        problem = super().refusal(words)
        if self._isOpen:
            problem.isTransient = self.remoteCloseCode not in _PERMANENT_CLOSE_CODES
        else:
            status = self.http_status_line.split()[1:2]
            isTransient = bool(status) and status[0] in _TRANSIENT_HTTP_STATUS
            problem = self.attempt.control.stranger(words, isTransient)
        return problem

    def _silent(self) -> None:
        self._isSilent = True
        self.transport.abortConnection()

    def _drop(self) -> None:
        self.transport.abortConnection()


class _Attempt:
    """One ``connect``: from the first packet to the tunnel, or to the reason why there is none."""

    def __init__(self, endpoint: ProxyEndpoint, factory: Any, control: ControlPhase) -> None:
        self.endpoint = endpoint
        self.reactor = endpoint.reactor
        self.factory = factory
        self.control = control
        self.check = ServerCheck(endpoint.tls, endpoint.url.host) if endpoint.url.isSecure else None
        self.url = endpoint.url
        self._timeout = endpoint.timeout
        self._onWaiting = endpoint.onWaiting
        self._leg: _Leg | None = None
        self._connecting: Deferred[Any] | None = None
        self._deadline: Any = None
        self._isOver = False
        self._result: Deferred[Any] = Deferred(lambda _: self._give(Failure(CancelledError())))

    def start(self) -> Deferred[Any]:
        self.factory.doStart()
        self._deadline = self.reactor.callLater(self._timeout, self._timedOut)
        legFactory: Any
        if self.url.isWebSocket:
            legFactory = self._webSocketFactory()
        else:
            legFactory = Factory.forProtocol(lambda: _StreamLeg(self))
            legFactory.noisy = False
        self._connecting = self._wire().connect(legFactory)
        self._connecting.addErrback(self._notConnected)
        return self._result

    def connected(self, leg: _Leg) -> None:
        self._leg = leg

    def accepted(self) -> None:
        """The server let us in: from now on it decides how long to wait for the partner."""
        self.endpoint.isRight = True
        if self._deadline.active() and not self._isOver:
            self._deadline.cancel()
            self._onWaiting()

    def establish(self, makeTransport: Callable[[Any], TunnelTransport]) -> None:
        """The tunnel is up: connect the user's protocol to it."""
        leg = self._leg
        if self._isOver or leg is None:
            return
        if self._deadline.active():
            self._deadline.cancel()
        try:
            protocol = self.factory.buildProtocol(leg.transport.getPeer())
            if protocol is None:
                raise error.NoProtocol()
        except Exception:
            self._give(Failure())
            return
        self._isOver = True
        self.endpoint.isRight = True
        leg.tunnel = makeTransport(protocol)
        protocol.makeConnection(leg.tunnel)
        self._result.callback(protocol)

    def fail(self, problem: TunnelError) -> None:
        self._give(Failure(problem))

    def lost(self, leg: _Leg, reason: Failure, words: str | None) -> None:
        """The connection ended before there was a tunnel."""
        if isinstance(reason.value, SSL.Error) and self.check is not None:
            problem = self.check.explain(reason.value)
            if isNoTls(reason.value):
                leg.failed(problem)
            else:
                self.fail(problem)
        elif self.control.waiting:
            because = f": {words}" if words else ""
            self.fail(TunnelError(f"the server closed the connection while waiting{because}"))
        else:
            leg.failed(leg.refusal(words))

    def _wire(self) -> IStreamClientEndpoint:
        if self.url.scheme == "unix":
            return UNIXClientEndpoint(self.reactor, self.url.path, timeout=self._timeout)
        wire = HostnameEndpoint(self.reactor, self.url.host, self.url.port, timeout=self._timeout)
        return wire if self.check is None else wrapClientTLS(self.check, wire)

    def _webSocketFactory(self) -> Any:
        factory: Any = WebSocketClientFactory(
            reactor=self.reactor, useragent=f"{DEFAULT_NAME}/{__version__}"
        )
        factory.noisy = False
        factory.host, _, factory.port = self.url.where.rpartition(":")
        factory.resource = self.url.resource
        # No timer of Autobahn's: they run on the global reactor, and the one for the closing
        # handshake does not wait until a slow partner has taken what was sent. The deadline here
        # and DROP_TIMEOUT do instead. Every byte is taken as payload, so text is not validated;
        # sizes are bounded by not collecting.
        factory.setProtocolOptions(
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            serverConnectionDropTimeout=0,
            utf8validateIncoming=False,
            perMessageCompressionOffers=[],
        )

        def build(_: IAddress) -> _WebSocketLeg:
            leg = _WebSocketLeg(self)
            leg.factory = factory
            return leg

        factory.buildProtocol = build
        return factory

    def _timedOut(self) -> None:
        words = f"no answer from {self.url.where} within {self._timeout:g} s"
        self.fail(TunnelError(words, isTransient=True))

    def _notConnected(self, failure: Failure) -> None:
        words = f"cannot connect to {self.url.where}: {whyNotConnected(failure)}"
        self.fail(TunnelError(words, isTransient=True))

    def _give(self, failure: Failure) -> None:
        """End the attempt without a tunnel; the first reason counts."""
        if self._isOver:
            return
        self._isOver = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._leg is not None:
            self._leg.transport.abortConnection()
        elif self._connecting is not None:
            self._connecting.cancel()
        self.factory.doStop()
        self._result.errback(failure)


@implementer(IStreamClientEndpoint)
class ProxyEndpoint:
    """A client endpoint whose connections go through a proxy; subclasses say to whom.

    Args:
        reactor: the reactor to connect and wait with.
        url: ``ws://HOST:PORT[/path]``, ``wss://…``, ``tcp://HOST:PORT``, ``tls://…`` or
        ``unix:PATH``.
        tls: whom to trust; only for wss and tls.
        timeout: seconds for connecting, and for everything up to the server's answer.
        onWaiting: called when the server has let us in and the partner is waited for.

    Attributes:
        isRight: a proxy has been reached with the URL.

    Raises:
        ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        onWaiting: Callable[[], None] = lambda: None,
    ) -> None:
        self.reactor = reactor
        self.url = ProxyUrl.parse(url)
        self.timeout = timeout
        self.onWaiting = onWaiting
        self.isRight = False
        if tls is not None and not self.url.isSecure:
            raise ValueError(f"there is no TLS to check in a {self.url.scheme} URL")
        self.tls = tls or TlsOptions()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Build a protocol once the tunnel is up.

        Returns:
            A Deferred of the protocol, whose transport is a ``TunnelTransport``. It fails with
            ``TunnelError`` when there is no tunnel to be had; cancelling it closes the connection.
        """
        return _Attempt(self, protocolFactory, self.control()).start()

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        raise NotImplementedError


class TunnelEndpoint(ProxyEndpoint):
    """A client endpoint whose connections are tunnels to whoever joins with the same token and
    nonce.

    How long to wait for the partner is the server's decision.

    Args:
        token: what the server lets us in for.
        nonce: keeps several tunnels with the same token apart.
        name: what the partner sees as our name.
        uuid: what the partner sees as our uuid; without it every connection gets a new random one.
        The others: see ``ProxyEndpoint``.

    Raises:
        ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        token: str,
        nonce: str | None = None,
        name: str = DEFAULT_NAME,
        uuid: str | None = None,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        onWaiting: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(reactor, url, tls, timeout, onWaiting)
        self._token = token
        self._nonce = nonce
        self._name = name
        self._uuid = None if uuid is None else _parseUuid(uuid)

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        return Joining(self._token, self._nonce, self._name, self._uuid or _randomUuid())


class ClientEndpoint(ProxyEndpoint):
    """A client endpoint whose connections lead to a server that is registered with a tunnel proxy.

    Args:
        serverUuid: the server's uuid.
        name: what the server sees as our name.
        uuid: what the server sees as our uuid; without it every connection gets a new random one.
        The others: see ``ProxyEndpoint``.

    Raises:
        ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        serverUuid: str,
        name: str = DEFAULT_NAME,
        uuid: str | None = None,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(reactor, url, tls, timeout)
        self.serverUuid = _parseUuid(serverUuid)
        self._name = name
        self._uuid = None if uuid is None else _parseUuid(uuid)

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        return ClientRegistration(self._name, self._uuid or _randomUuid(), self.serverUuid)

    def probe(self) -> Deferred[Any]:
        """Find out whether the proxy leads to servers at all; none of them hears of it.

        Returns:
            A Deferred that fails with ``TunnelError`` when it does not, or when that is not known.
        """
        factory = Factory.forProtocol(_Farewell)
        factory.noisy = False
        return _Attempt(self, factory, Probe(self._name, _randomUuid())).start()


class _Farewell(Protocol):
    """Has nothing to do."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.loseConnection()


class ServerEndpoint(ProxyEndpoint):
    """A client endpoint whose connections register a server with a tunnel proxy, and carry SLIP.

    Args:
        uuid: what clients find the server by.
        name: the server's name, for the proxy's statistics.
        The others: see ``ProxyEndpoint``.

    Raises:
        ValueError: an argument is wrong; the text is one line.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        uuid: str,
        name: str = DEFAULT_NAME,
        tls: TlsOptions | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(reactor, url, tls, timeout)
        self.uuid = _parseUuid(uuid)
        self._name = name

    def control(self) -> ControlPhase:
        """Return the control phase of a new connection."""
        return ServerRegistration(self._name, self.uuid)


def _parseUuid(text: str) -> str:
    try:
        return f"{{{uuids.UUID(text)}}}"
    except ValueError:
        raise ValueError(f"{oneLine(ascii(text))} is no uuid; uuidgen makes one") from None


def _randomUuid() -> str:
    return f"{{{uuids.uuid4()}}}"


def _tuneTcp(handle: Any) -> None:
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, round(INTERVAL))
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_PROBE_INTERVAL)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
