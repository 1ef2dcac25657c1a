"""The HTTP upgrade of WebSocket clients.

Autobahn decides, with a request that `upgraderequest` has checked, and writes the answer. From the
first frame on the connection is ours. Owns what Autobahn gets to see. Knows nothing of frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.httphead import HeadReader, Refusal
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import SERVER
from nymearemoteproxy.protocol.upgraderequest import canonical
from nymearemoteproxy.wires.phase import Phase
from nymearemoteproxy.wires.transports import Linger
from nymearemoteproxy.wires.websocket import WebSocketControl


class _Silence:
    """Takes log calls, and does nothing."""

    def debug(self, *_format: object, **_values: object) -> None:
        """Nothing."""

    trace = info = warn = error = failure = debug


class Hearing(WebSocketServerProtocol):
    """Autobahn's end of one upgrade, without a transport: what it would send is kept.

    :ivar answer: what the client is to be sent.
    :ivar isGranted: from then on it is a WebSocket.
    """

    # It logs what it received.
    log = _Silence()

    def __init__(self, factory: WebSocketServerFactory) -> None:
        super().__init__()
        self.factory = factory
        self.answer = b""
        self.isGranted = False
        self.makeConnection(None)

    def copied(self) -> Hearing:
        """Return another one, like one made anew; Autobahn takes as long for that as to decide.

        What both share no upgrade changes: the settings, and what is there for frames.
        """
        other = Hearing.__new__(Hearing)
        vars(other).update(vars(self))
        other.is_open = Deferred()
        return other

    def onConnect(self, request: ConnectionRequest) -> str | None:
        """Accept the subprotocol that the checked request has, if it has one."""
        return request.protocols[0] if request.protocols else None

    def onOpen(self) -> None:
        self.isGranted = True

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.answer += data

    def dropConnection(self, abort: bool = False) -> None:
        """It is for the `Upgrade` to close."""


class Judge:
    """Has Autobahn decide about requests, by the settings of the HTTP upgrade."""

    def __init__(self, clock: Any) -> None:
        factory = WebSocketServerFactory(server=SERVER, reactor=clock)
        # The time limit is ours, a page for browsers is not wanted, and no extension is negotiated.
        factory.setProtocolOptions(openHandshakeTimeout=0, webStatus=False)
        self._model = Hearing(factory)

    def decide(self, request: bytes) -> Hearing:
        """Return what Autobahn says to a request.

        :param request: whole, and with nothing behind it.
        """
        hearing = self._model.copied()
        hearing.data = request
        hearing.processHandshake()
        return hearing


class Upgrade(Phase, Protocol):
    """The HTTP upgrade; Autobahn sees what was checked of the request, and nothing behind it.

    :param unixTime: tells the date.
    """

    def __init__(
        self,
        proxy: Proxy,
        record: Record,
        judge: Judge,
        unixTime: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(proxy, record)
        self._judge = judge
        self._unixTime = unixTime
        self._head = HeadReader()

    def connectionMade(self) -> None:
        timing = self.proxy.policy.timing
        self._linger = Linger(self.proxy.delays, self.transport, timing.close, self.record.number)
        self.setDeadline(timing.webSocketHandshake)

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        if self.record.outcome is not None:
            return
        try:
            read = self._head.receive(data)
            if read is None:
                return
            request, rest = read
            checked = canonical(request, self.proxy.policy.subprotocols)
        except Refusal as refusal:
            self._answer(refusal.dated(self._unixTime()))
            self._fail(refusal.outcome or Outcome.WEBSOCKET_HANDSHAKE_FAILED)
            return
        hearing = self._judge.decide(checked)
        self._answer(hearing.answer)
        if hearing.isGranted:
            self._takeOver(rest)
        else:
            self._fail(Outcome.WEBSOCKET_HANDSHAKE_FAILED)

    def _answer(self, head: bytes) -> None:
        self.record.sent += len(head)
        self.transport.write(head)

    def _takeOver(self, rest: bytes) -> None:
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
        super().connectionLost(reason)
