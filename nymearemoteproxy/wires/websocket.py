"""WebSocket clients after the upgrade: JSON-RPC in messages, then the relaying of frames.

Owns the framing on both sides of the moment a tunnel begins: one reader serves the control phase
and the tunnel, so that no byte has to change hands in the middle of a frame. Knows nothing of
streams, tokens or pairing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from nymearemoteproxy.common.delays import Delay
from nymearemoteproxy.connections.keepalive import IWatched
from nymearemoteproxy.connections.proxy import Proxy
from nymearemoteproxy.connections.records import Record
from nymearemoteproxy.protocol.frames import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    TEXT,
    FrameReader,
    Frames,
    StreamFramer,
    closeFrame,
    frame,
)
from nymearemoteproxy.protocol.jsonrpc import tooLarge
from nymearemoteproxy.protocol.outcomes import Outcome
from nymearemoteproxy.protocol.session import Role, StartTunnel
from nymearemoteproxy.wires.control import Control
from nymearemoteproxy.wires.leg import Leg, askTransport
from nymearemoteproxy.wires.limited import Limited, hasLimits
from nymearemoteproxy.wires.transports import Linger, lookAfterSent

TEXT_TAIL_TIMEOUT = 1.0
"""Seconds the beginning of a character waits for its rest; after that it was no text."""


@implementer(IWatched)
class WebSocketControl(Control):
    """A WebSocket client before its tunnel."""

    gathers = True

    def __init__(self, proxy: Proxy, record: Record) -> None:
        super().__init__(proxy, record)
        self._reader = FrameReader()
        self._frames: list[bytes] = []  # no deque, which takes half a KiB also when it is empty
        self._message = bytearray()
        self._opcode = 0  # the type of the client's first message; our answers have the same
        self._lastOpcode = 0  # the type of its latest message; relayed bytes have the same

    def afterMessages(self) -> None:
        controls, self._reader.controls = self._reader.controls, []
        pings = [payload for opcode, payload in controls if opcode == PING]
        if pings and not self._closing:
            self.write(frame(PONG, pings[-1]))  # enough for all (RFC 6455 section 5.5.3)
        isClosed = bool(controls) and controls[-1][0] == CLOSE
        if self._frames and self.session.expectsMessages:
            # Calls that came before the end are answered before it.
            self._reader.controls = controls[-1:] if isClosed else []
            return
        if isClosed:
            self.perform(self.session.gone())
            self.linger.close()
        if self._reader.error is not None:
            self.record.endsWith(Outcome.WEBSOCKET_PROTOCOL_ERROR)
            self.perform(self.session.gone())
            self.linger.stopSending()

    def drop(self, data: bytes) -> None:
        self._reader.receive(data)
        if any(opcode == CLOSE for opcode, _payload in self._reader.controls):
            self.linger.close()
        self._reader.controls.clear()

    def feed(self, data: bytes) -> None:
        if data or not self._frames:
            self._frames += self._reader.receive(data)

    def holdsMore(self) -> bool:
        return self._reader.hasMore

    def take(self) -> bytes | None:
        limit = self.proxy.policy.messageLimit
        while self._frames:
            header, payload = self._frames[:2]
            del self._frames[:2]
            opcode = header[0] & ~FIN
            self._opcode = self._opcode or opcode
            self._lastOpcode = opcode or self._lastOpcode
            self._message += payload
            if limit and len(self._message) > limit:
                raise tooLarge(limit)
            if header[0] & FIN:
                message = bytes(self._message)
                self._message.clear()
                return message
        return None

    def holdsData(self) -> bool:
        return bool(self._frames or self._message) or self._reader.inMessage

    def framed(self, message: bytes) -> bytes:
        return frame(self._opcode or TEXT, message)

    def sayGoodbye(self, outcome: Outcome) -> None:
        error = self._reader.error
        if error is not None:
            self.write(closeFrame(error.code, error.reason))
        else:
            self.write(closeFrame(outcome.closeCode, outcome.reason))
        self.proxy.keepalive.remove(self)

    def makeLeg(self, start: StartTunnel) -> Leg:
        self.proxy.keepalive.remove(self)
        # Packets need not align with messages, which could then not be text.
        opcode = BINARY if start.role is Role.SERVER else self._lastOpcode
        legClass = LimitedWebSocketLeg if hasLimits(self.proxy, start.role) else WebSocketLeg
        return legClass(self.proxy, self.record, self.linger, self._reader, opcode)

    def handOver(self, leg: Leg) -> None:
        if self._frames:
            leg.partner.sendFrames(self._frames)
            self._frames = []
        if not self._reader.hasMore:  # or that waits for its turn, like any other read
            leg.dataReceived(b"")  # it looks at what else the reader holds

    def startWaiting(self) -> None:
        self.proxy.keepalive.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.proxy.keepalive.remove(self)
        super().connectionLost(reason)

    # Keepalive

    def signsOfLife(self) -> int:
        return self.record.received

    def isDeaf(self) -> bool:
        return self._blocked

    def checkTransport(self) -> None:
        """It is read from, so its end is noticed."""

    def ping(self) -> Callable[[], bool]:
        self.write(frame(PING, b""))
        return lookAfterSent(self.transport)

    def ask(self) -> Callable[[], bool]:
        if self._blocked:
            return askTransport(self.proxy, self.transport)
        before = self.record.received
        self.ping()
        return lambda: self.record.received > before


class WebSocketLeg(Leg):
    """A WebSocket client in its tunnel.

    :param reader: continues where the control phase stopped.
    :param opcode: the type of message that the bytes of a stream partner are sent in.
    """

    __slots__ = ("_reader", "_framer", "_tailTimer", "_pong", "_farewell")

    # Without a close frame it is no farewell, however TCP or TLS was closed.
    departure = Outcome.CONNECTION_LOST

    def __init__(
        self, proxy: Proxy, record: Record, linger: Linger, reader: FrameReader, opcode: int
    ) -> None:
        super().__init__(proxy, record, linger)
        self._reader = reader
        self._framer = StreamFramer(opcode)
        self._tailTimer: Delay | None = None
        self._pong: bytes | None = None
        self._farewell: Callable[[], None] | None = None  # what is to be done when all is relayed

    def dataReceived(self, data: bytes) -> None:
        self.record.received += len(data)
        reader = self._reader
        frames = reader.receive(data)
        if frames:
            self.partner.sendFrames(frames)
        if reader.controls:
            self._controlsReceived()
        if reader.error is not None:
            self._broken()
        if reader.hasMore:
            self._awaitTurn()

    def _awaitTurn(self) -> None:
        """Read nothing more until the rest of what was read is relayed, when others had a turn."""
        if self._farewell is None:
            self.transport.pauseProducing()
        if not self.unread or self._farewell is not None:
            self.proxy.turns.wait(self._takeTurn, self.failed, relays=True)

    def _takeTurn(self) -> None:
        if self._farewell is None:
            if self.unread:
                return  # `resumeReading` goes on
            self.readOn()
        self.dataReceived(b"")
        if self._farewell is not None and not self._reader.hasMore:
            farewell, self._farewell = self._farewell, None
            farewell()

    def holdsMore(self) -> bool:
        return self._reader.hasMore

    def resumeReading(self) -> None:
        super().resumeReading()
        if self._reader.hasMore:
            self._awaitTurn()

    def clientLeft(self) -> None:
        self._afterAll(super().clientLeft)

    def _afterAll(self, farewell: Callable[[], None]) -> None:
        """Do this when all that the client sent before is relayed; the partner may be blocked."""
        if self._reader.hasMore:
            self._farewell = farewell
            self._awaitTurn()
        else:
            farewell()

    def _controlsReceived(self) -> None:
        controls, self._reader.controls = self._reader.controls, []
        for opcode, payload in controls:
            if opcode == PING:
                self._pong = payload
        if not self.blocked:
            self._sendPong()
        if controls[-1][0] == CLOSE:
            self._closeReceived(controls[-1][1])

    def _sendPong(self) -> None:
        """Answer the last ping, not those that came with it or while the client did not read.

        RFC 6455 section 5.5.3 allows that, and it bounds what a flood of pings makes.
        """
        payload, self._pong = self._pong, None
        if payload is not None and not self.finished:
            self._write(frame(PONG, payload))

    def _closeReceived(self, payload: bytes) -> None:
        self.left(Outcome.CLIENT_LEFT)
        self._writeLast(frame(CLOSE, payload[:2]))
        self.linger.close()

    def _broken(self) -> None:
        error = self._reader.error
        if error is None or self._tunnel is None:
            return
        self.left(Outcome.WEBSOCKET_PROTOCOL_ERROR)
        self._writeLast(closeFrame(error.code, error.reason))
        self.linger.stopSending()
        self.linger.drop()

    def _writeLast(self, close: bytes) -> None:
        """Write a close frame, unless the client was told goodbye already."""
        if not self.finished:
            self.finished = True
            self.transport.unregisterProducer()
            self._write(close)
        self._cleanUp()

    def sendFrames(self, frames: Frames) -> None:
        self._write(b"".join(frames))

    def sendBytes(self, data: bytes) -> None:
        framer = self._framer
        if frames := framer.encode(data):
            self._write(frames)
        if self._tailTimer is not None:
            self._tailTimer.remove(self._flushTail)
            self._tailTimer = None
        if framer.holdsBack:
            self._awaitTail()

    def _awaitTail(self) -> None:
        self._tailTimer = self.proxy.delays.start(TEXT_TAIL_TIMEOUT, self._flushTail)

    def _flushTail(self) -> None:
        self._tailTimer = None
        if self.blocked:
            self._awaitTail()  # the partner cannot send the rest, for we do not read from it
        else:
            self._write(self._framer.flush())

    def sayGoodbye(self, outcome: Outcome) -> None:
        self._write(self._framer.flush() + closeFrame(outcome.closeCode, outcome.reason))
        self._cleanUp()
        self.linger.start()

    def cutOff(self, outcome: Outcome) -> None:
        self.finish(outcome)  # the close frame says that it is no ordinary end

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._sendPong()

    def connectionLost(self, reason: Failure) -> None:
        self._cleanUp()
        # From now on nothing touches the transport, also if something is still to be relayed.
        self.finished = True
        self.linger.stop()
        self._afterAll(partial(super().connectionLost, reason))

    def failed(self, failure: Failure) -> None:
        self._reader = FrameReader()  # what is left in the other one is lost
        super().failed(failure)
        farewell, self._farewell = self._farewell, None
        if farewell is not None:
            farewell()  # nothing more of the transport's is to come

    def _write(self, data: bytes) -> None:
        self.record.sent += len(data)
        self.transport.write(data)

    def _cleanUp(self) -> None:
        self.proxy.keepalive.remove(self)
        if self._tailTimer is not None:
            self._tailTimer.remove(self._flushTail)
            self._tailTimer = None

    # Keepalive

    def isDeaf(self) -> bool:
        return self.blocked or self.unread

    def ping(self) -> Callable[[], bool]:
        self._write(frame(PING, b""))
        return lookAfterSent(self.transport)

    def ask(self) -> Callable[[], bool]:
        if self._farewell is not None:
            return lambda: False  # it has left, which will be told when all is relayed
        # A ping may wait behind much else, so it is TCP that tells. But TCP may end at a reverse
        # proxy: then what is noticed by pings anyway is noticed as soon as it can be.
        self.proxy.keepalive.hurry(self)
        before, isThere = self.record.received, super().ask()
        return lambda: self.record.received > before or isThere()


class LimitedWebSocketLeg(Limited, WebSocketLeg):
    """The same in a tunnel that has limits."""
