"""What a protocol sees of its tunnel: the transports, for streams and for WebSocket.

Owns pausing, producers and closing, as protocols of Twisted expect them. Knows nothing of how a
tunnel comes about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from autobahn.twisted.websocket import WebSocketClientProtocol
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.client.connecting.heartbeat import Heartbeat
from nymearemoteproxy.client.rules.controlphase import Partner

CLOSE_TIMEOUT = 60.0
"""Seconds of silence after which a proxy that does not answer the end of TLS is left. Nothing keeps
a proxy from answering but what it still has to read, and a slow partner takes its time for that."""


@implementer(ITransport, IConsumer, IPushProducer)
class TunnelTransport:
    """The transport of a protocol that runs through a tunnel.

    Whatever the real transport can do, such as buffering and back pressure, is left to it.

    :ivar partner: who is at the other end.
    :ivar disconnecting: `loseConnection` was called.
    """

    def __init__(self, reactor: Any, wire: Any, partner: Partner, protocol: IProtocol) -> None:
        self.partner = partner
        self.disconnecting = False
        self._reactor = reactor
        self._wire = wire
        self._protocol = protocol
        self._paused = False
        self._held: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        """Send `data` to the partner."""
        self._wire.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send the pieces of `data`, joined, to the partner."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the tunnel once everything written has been sent."""
        self.disconnecting = True
        self._wire.loseConnection()

    def abortConnection(self) -> None:
        """Close the tunnel at once; what was not sent yet is lost."""
        self.disconnecting = True
        self._wire.abortConnection()

    def loseWriteConnection(self) -> None:
        """Say that nothing will follow, and go on receiving.

        Only plain streams can be closed by halves; TLS and WebSocket close both ways.
        """
        self.loseConnection()

    def getPeer(self) -> IAddress:
        """Return the proxy's address; the partner's is not known here."""
        address: IAddress = self._wire.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Return the address of this end of the connection to the proxy."""
        address: IAddress = self._wire.getHost()
        return address

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let `producer` be paused and resumed as our send buffer fills and drains."""
        if ISSLTransport.providedBy(self._wire):
            producer = _TlsProducer(producer, self._wire)
        self._wire.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer; a `loseConnection` that waited for it happens now."""
        self._wire.unregisterProducer()

    def pauseProducing(self) -> None:
        """Deliver nothing until `resumeProducing`, not even what has been read already."""
        self._paused = True
        self._wire.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on delivering what the partner sends."""
        self._paused = False
        if self._held:
            # Not from within this call: a producer is not expected to deliver while it is being
            # resumed.
            self._reactor.callLater(0, self._deliverHeld)
        else:
            self._wire.resumeProducing()

    def stopProducing(self) -> None:
        """Close the tunnel: its consumer is gone."""
        self.loseConnection()

    def deliver(self, data: bytes) -> None:
        """Hand `data` to the protocol, or keep it while paused: one read's worth at most."""
        if self._paused or self._held:
            self._held.append(data)
        else:
            self._protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        """Nothing more will come; a protocol that knows no halves is at its end then."""
        halves = IHalfCloseableProtocol(self._protocol, None)
        if halves is None:
            # While there is a producer, the wire would wait for what it still has to say.
            self._wire.unregisterProducer()
            self._wire.loseConnection()
        else:
            halves.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Nothing more can be sent."""
        halves = IHalfCloseableProtocol(self._protocol, None)
        if halves is not None:
            halves.writeConnectionLost()

    def lost(self, reason: Failure) -> None:
        """Hand over what is kept, then the connection's end: the partner sent it before it left."""
        self._paused = False
        while self._held:
            self._protocol.dataReceived(self._held.popleft())
        self._protocol.connectionLost(reason)

    def _deliverHeld(self) -> None:
        while self._held and not self._paused:
            self._protocol.dataReceived(self._held.popleft())
        if not self._paused:
            self._wire.resumeProducing()


@implementer(IPushProducer)
class _TlsProducer:
    """Passes on what a producer is asked, up to the end of TLS.

    When the proxy ends TLS while the producer is paused, Twisted waits for what the producer still
    has to say, throws that away, and the protocol never hears of the end.
    """

    def __init__(self, producer: Any, wire: Any) -> None:
        self._producer = producer
        self._wire = wire

    def pauseProducing(self) -> None:
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        # The transport under TLS is closed by the end of TLS only.
        if self._wire.transport.disconnecting:
            self._wire.unregisterProducer()
        else:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        self._producer.stopProducing()


class StreamTransport(TunnelTransport):
    """The tunnel over TCP, TLS or a Unix socket."""

    def __init__(self, canCloseByHalves: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._canCloseByHalves = canCloseByHalves
        self._hasProducer = False
        self._isLeft = False
        self._isLost = False
        self._closing: Any = None

    def loseWriteConnection(self) -> None:
        """See `TunnelTransport`."""
        if self._canCloseByHalves:
            self._wire.loseWriteConnection()
        else:
            self.loseConnection()

    def loseConnection(self) -> None:
        """See `TunnelTransport`; the end of TLS has to be answered."""
        super().loseConnection()
        if not (self._canCloseByHalves or self._hasProducer or self._isLost):
            self._awaitSilence()

    def resumeProducing(self) -> None:
        """See `TunnelTransport`; meanwhile the proxy was not heard."""
        super().resumeProducing()
        if self._closing is not None:
            self._awaitSilence()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `TunnelTransport`."""
        self._hasProducer = True
        super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See `TunnelTransport`."""
        self._hasProducer = False
        super().unregisterProducer()
        if self.disconnecting:
            self.loseConnection()

    def deliver(self, data: bytes) -> None:
        """See `TunnelTransport`."""
        if self._closing is not None:
            self._awaitSilence()
        super().deliver(data)

    def lost(self, reason: Failure) -> None:
        """See `TunnelTransport`."""
        self._isLost = True
        self._cancelClosing()
        super().lost(connectionDone if self._isLeft else reason)

    def _awaitSilence(self) -> None:
        self._cancelClosing()
        self._closing = self._reactor.callLater(CLOSE_TIMEOUT, self._leave)

    def _cancelClosing(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _leave(self) -> None:
        self._closing = None
        if self._paused:
            self._awaitSilence()
            return
        self._isLeft = True
        # Whatever is still on its way out of TLS is sent first.
        self._wire.transport.loseConnection()


class WebSocketTransport(TunnelTransport):
    """The tunnel over WebSocket: every write is one binary message."""

    def __init__(self, connection: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connection = connection
        self._hasProducer = False

    def write(self, data: bytes) -> None:
        """See `TunnelTransport`."""
        if data and self._connection.state == WebSocketClientProtocol.STATE_OPEN:
            self._connection.sendMessage(bytes(data), isBinary=True)

    def loseConnection(self) -> None:
        """See `TunnelTransport`."""
        self.disconnecting = True
        # As Twisted's TLS does: a producer that has not finished may still write.
        if not self._hasProducer:
            # Nothing is sent behind a close frame, so TCP is left to find out.
            self._connection.heartbeat.stop()
            self._connection.sendClose(WebSocketClientProtocol.CLOSE_STATUS_CODE_NORMAL)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `TunnelTransport`."""
        self._hasProducer = True
        super().registerProducer(_SendingProducer(producer, self._connection.heartbeat), streaming)

    def unregisterProducer(self) -> None:
        """See `TunnelTransport`."""
        self._hasProducer = False
        self._connection.heartbeat.release("sending")
        super().unregisterProducer()
        if self.disconnecting:
            self.loseConnection()

    def pauseProducing(self) -> None:
        """See `TunnelTransport`."""
        self._connection.heartbeat.hold("receiving")
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """See `TunnelTransport`."""
        self._connection.heartbeat.release("receiving")
        super().resumeProducing()


@implementer(IPushProducer)
class _SendingProducer:
    """Passes on what a producer is asked; while it is paused, our pings do not get through."""

    def __init__(self, producer: Any, heartbeat: Heartbeat) -> None:
        self._producer = producer
        self._heartbeat = heartbeat

    def pauseProducing(self) -> None:
        self._heartbeat.hold("sending")
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        self._heartbeat.release("sending")
        self._producer.resumeProducing()

    def stopProducing(self) -> None:
        self._producer.stopProducing()
