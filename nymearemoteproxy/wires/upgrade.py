"""The HTTP upgrade of WebSocket clients.

Autobahn does it, with a request that `httphead` has checked. From the first frame on the connection
is ours. Owns what Autobahn gets to see. Knows nothing of frames.
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.httphead import HeadReader, Refusal
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import SERVER
from nymearemoteproxy.wires.phase import Phase
from nymearemoteproxy.wires.transports import Linger
from nymearemoteproxy.wires.websocket import WebSocketControl


class _Silence:
    """Takes log calls, and does nothing."""

    def debug(self, *_format: object, **_values: object) -> None:
        """Nothing."""

    trace = info = warn = error = failure = debug


def makeUpgradeFactory(clock: Any) -> WebSocketServerFactory:
    """Return the Autobahn factory that holds the settings of the HTTP upgrade."""
    factory = WebSocketServerFactory(server=SERVER, reactor=clock)
    # The time limit is ours, a page for browsers is not wanted, and no extension is negotiated.
    factory.setProtocolOptions(openHandshakeTimeout=0, webStatus=False)
    return factory


class Upgrade(Phase, WebSocketServerProtocol):  # type: ignore[misc]  # within Autobahn
    """The HTTP upgrade; Autobahn sees what was checked of the request, and nothing behind it."""

    # It logs what it received.
    log = _Silence()
    # It would copy its settings into each connection, and format them for the log.
    CONFIG_ATTRS: list[str] = []

    def __init__(self, proxy: Proxy, record: Record, factory: WebSocketServerFactory) -> None:
        WebSocketServerProtocol.__init__(self)
        Phase.__init__(self, proxy, record)
        self.factory = factory
        self._head = HeadReader(proxy.policy.subprotocols)
        self._opened = False

    def connectionMade(self) -> None:
        super().connectionMade()
        timing = self.proxy.policy.timing
        self._linger = Linger(self.proxy.clock, self.transport, timing.close, self.record.number)
        self.setDeadline(timing.webSocketHandshake)

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        if self.record.outcome is not None:
            return
        try:
            read = self._head.receive(data)
        except Refusal as refusal:
            self.transport.write(refusal.answer)
            self._fail(refusal.outcome)
            return
        if read is None:
            return
        request, rest = read
        super().dataReceived(request)
        if self._opened:
            self._takeOver(rest)
        else:
            self._fail(Outcome.WEBSOCKET_HANDSHAKE_FAILED)

    def onConnect(self, request: ConnectionRequest) -> str | None:
        """Accept the subprotocol that the checked request has, if it has one."""
        return request.protocols[0] if request.protocols else None

    def onOpen(self) -> None:
        self._opened = True

    def __getattr__(self, name: str) -> Any:
        if name in WebSocketServerProtocol.CONFIG_ATTRS:
            return getattr(self.factory, name)
        raise AttributeError(name)

    def _takeOver(self, rest: bytes) -> None:
        self.factory.countConnections -= 1  # it will not hear of the end
        control = WebSocketControl(self.proxy, self.record)
        self.next(control)
        if rest:
            self.record.received -= len(rest)  # counted there
            control.dataReceived(rest)

    def _fail(self, outcome: Outcome) -> None:
        """Close, for the client has been answered with an HTTP error."""
        self.clearDeadline()
        self.record.endsWith(outcome)
        self._head = HeadReader()  # without what it held
        self._linger.stopSending()
        self._linger.drop()

    def deadlinePassed(self) -> None:
        self.end(Outcome.WEBSOCKET_HANDSHAKE_TIMEOUT)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._linger.stop()
        self.record.endsWith(Outcome.LEFT_EARLY)
        WebSocketServerProtocol.connectionLost(self, reason)
        Phase.connectionLost(self, reason)
