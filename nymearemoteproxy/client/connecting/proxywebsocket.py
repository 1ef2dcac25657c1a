"""A connection to a proxy over WebSocket.

Owns which messages are the control phase and which the tunnel, and what it means how a WebSocket is
closed. Framing is Autobahn's. Knows nothing of what the proxy's messages mean.
"""

from __future__ import annotations

from random import SystemRandom
from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from autobahn.websocket import protocol as autobahnProtocol
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy import __version__
from nymearemoteproxy.client.connecting.attempt import Attempt
from nymearemoteproxy.client.connecting.heartbeat import Heartbeat
from nymearemoteproxy.client.connecting.proxyconnection import ProxyConnection
from nymearemoteproxy.client.connecting.reasons import SILENT
from nymearemoteproxy.client.connecting.tunneltransport import WebSocketTransport
from nymearemoteproxy.client.rules.errors import TunnelError, isTransientStatus

txaio.use_twisted()

# Nobody may foretell a mask from others (RFC 6455 section 5.3). Autobahn takes them from a
# generator that shows its whole state in 624 of them, and cannot be given any.
autobahnProtocol.random = SystemRandom()  # type: ignore[assignment, attr-defined]

USER_AGENT = f"nymea-remoteproxy-client/{__version__}"
"""What HTTP servers log of us."""

DROP_TIMEOUT = 5.0
"""Seconds a server may take to close the connection after the closing handshake; nothing can follow
that one."""

MAX_HTTP_HEADER_SIZE = 16 * 1024
"""Autobahn itself reads an HTTP answer's header without any limit."""

# Why a WebSocket server closed: the request was wrong, and would be again. Not 1008: who is refused
# gets an answer first, and without one it means that our request was too long on its way.
_PERMANENT_CLOSE_CODES = (1002, 1003, 1007, 1009, 1010)


def webSocketFactory(attempt: Attempt) -> Any:
    """Return what makes the connection of an attempt."""
    factory: Any = WebSocketClientFactory(reactor=attempt.route.reactor, useragent=USER_AGENT)
    factory.noisy = False
    factory.host, _, factory.port = attempt.route.url.where.rpartition(":")
    factory.resource = attempt.route.url.resource
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

    def build(_: IAddress) -> ProxyWebSocket:
        connection = ProxyWebSocket(attempt)
        connection.factory = factory
        return connection

    factory.buildProtocol = build
    return factory


class ProxyWebSocket(ProxyConnection, WebSocketClientProtocol):  # type: ignore[misc]
    """A connection to a proxy over WebSocket."""

    # Autobahn sets it when the answer's header is there.
    http_status_line = ""

    def __init__(self, attempt: Attempt) -> None:
        ProxyConnection.__init__(self, attempt)
        WebSocketClientProtocol.__init__(self)
        self.heartbeat = Heartbeat(attempt.route.reactor, self.sendPing, self._silent)
        self._begun = False
        self._isOpen = False
        self._isSilent = False
        self._dropping: Any = None

    def begin(self) -> None:
        self._begun = True
        WebSocketClientProtocol.connectionMade(self)

    def dataReceived(self, data: bytes) -> None:
        if self._dropping is not None:
            return
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

    def processData(self) -> bool:
        # Behind a close frame there is nothing (RFC 6455 section 5.5.1); Autobahn would read on.
        return self._dropping is None and super().processData()

    def onOpen(self) -> None:
        self._isOpen = True
        self.say(self.attempt.control.request)
        self.heartbeat.start()

    def say(self, message: bytes) -> None:
        # The server sends a stream's bytes in messages of the type that this one has, and bytes are
        # no text.
        self.sendMessage(message, isBinary=True)

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
                    self, self.attempt.route.reactor, self.transport, partner, protocol
                )
            )

    def onCloseFrame(self, code: Any, reasonRaw: Any) -> bool | None:
        handled: bool | None = super().onCloseFrame(code, reasonRaw)
        if self._dropping is None:
            self._dropping = self.attempt.route.reactor.callLater(DROP_TIMEOUT, self._drop)
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
        """See `ProxyConnection`; a WebSocket server says more."""
        if self._isSilent:
            return TunnelError(SILENT, isTransient=True)
        if not self._isOpen and not self.http_status_line:
            return super().refusal(None)
        problem = super().refusal(words)
        if self._isOpen:
            problem.isTransient = self.remoteCloseCode not in _PERMANENT_CLOSE_CODES
        else:
            status = self.http_status_line.split()[1:2]
            isTransient = bool(status) and isTransientStatus(status[0])
            problem = self.attempt.control.stranger(words, isTransient)
        return problem

    def _silent(self) -> None:
        self._isSilent = True
        self.transport.abortConnection()

    def _drop(self) -> None:
        self.transport.abortConnection()
