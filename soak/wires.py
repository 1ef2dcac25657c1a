"""The load's connections, over all transports, which can misbehave.

Owns TLS, frames, and how a connection ends, at the client's side. Knows nothing of tunnels. On
asyncio, and so on nothing that the server is made of.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from tests.support.endtoend import CLOSE, PING, PONG, TEXT, TLS, UPGRADE, frame
from tests.support.gateways import RESET

EOF, CUT = "end", "cut-off"
"""How a connection is ended that has no close code: in order, or not."""
LARGEST = 1 << 18
"""Bytes that are read of TLS at once."""
ANSWERS = {PING: PONG, CLOSE: CLOSE}
"""What is answered with what, unless we have said goodbye."""
OTHERS_TURN = 16
"""Bytes that are written alone, after which others go on."""
LITTLE, MUCH = 1 << 16, 1 << 20
"""Bytes that the kernel takes at most for those who do not read, and for all others."""


class Wire(asyncio.Protocol):
    """A stream, with or without TLS.

    :ivar peer: what the server's log calls it.
    :ivar sent: bytes so far, without TLS.
    :ivar received: likewise.
    :ivar ended: the way in which the server ended it, once it has.
    :ivar lost: done when nothing is left of it.
    :ivar isExact: what the server counted has to be what we did.
    :ivar outcomes: how the server may say that it ended; None = it does not matter.
    """

    isWebSocket = False

    def __init__(self, transport: str, isSecure: bool) -> None:
        loop = asyncio.get_running_loop()
        self.name = transport
        self.sent = self.received = 0
        self.ended: asyncio.Future[str] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.outcomes: frozenset[str] | None = None
        self.isExact = False
        self._tls: ssl.SSLObject | None = None
        if isSecure:
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = TLS.wrap_bio(self._in, self._out, server_hostname="localhost")
            self._shakesHands = True
        self._kept = bytearray()
        self._take: Callable[[bytes], object] = self._keep
        self._changed = asyncio.Event()
        self._canWrite = asyncio.Event()
        self._canWrite.set()

    # What asyncio calls

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        name = transport.get_extra_info("sockname")
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "unix"
        if self._tls is not None:
            self._shakeHands()

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._arrived(data)
            return
        self._in.write(data)
        if self._shakesHands:
            self._shakeHands()
        else:
            self._decrypt()

    def eof_received(self) -> bool:
        self._end(CUT if self.isWebSocket or self._tls is not None else EOF)
        return True  # our direction is not over

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(CUT)
        if not self.lost.done():  # cancelled, with who waited for it
            self.lost.set_result(None)
        self._canWrite.set()

    def pause_writing(self) -> None:
        self._canWrite.clear()

    def resume_writing(self) -> None:
        self._canWrite.set()

    # TLS

    def _shakeHands(self) -> None:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.transport.write(self._out.read())
            return
        except ssl.SSLError:
            self.transport.abort()
            return
        self._shakesHands = False
        self._changed.set()
        self.transport.write(self._out.read())
        self._decrypt()

    def _decrypt(self) -> None:
        assert self._tls is not None
        try:
            while data := self._tls.read(LARGEST):
                self._arrived(data)
            self._end(CUT if self.isWebSocket else EOF)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end(CUT if self.isWebSocket else EOF)
        except ssl.SSLError:
            self._end(CUT)
            self.transport.abort()

    # Receiving

    def _arrived(self, data: bytes) -> None:
        self.received += len(data)
        self._take(data)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        self._changed.set()

    def _end(self, how: str) -> None:
        if not self.ended.done():
            self.ended.set_result(how)
        self._changed.set()

    async def until(self, isSo: Callable[[], bool]) -> bool:
        """Wait until something is so, or the server has ended the connection; return whether it is.

        What makes it so has to call `touch`.
        """
        while not isSo():
            if self.ended.done():
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def touch(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def ready(self) -> None:
        """Wait until control messages can be sent."""
        if self._tls is not None and not await self.until(lambda: not self._shakesHands):
            raise ConnectionError("no TLS")

    async def line(self) -> bytes:
        """Return the next line.

        :raises ConnectionError: the server ended the connection.
        """
        if not await self.until(lambda: b"\n" in self._kept):
            raise ConnectionError(f"{self.ended.result()} after {bytes(self._kept)!r}")
        line, newline, rest = self._kept.partition(b"\n")
        self._kept = rest
        return bytes(line + newline)

    def relay(self, take: Callable[[bytes], object]) -> None:
        """From now on what comes is payload."""
        self._take_payload(take)
        kept, self._kept = bytes(self._kept), bytearray()
        if kept:
            take(kept)

    def _take_payload(self, take: Callable[[bytes], object]) -> None:
        self._take = take

    # Sending

    def send(self, data: bytes) -> None:
        """Send a message, or bytes."""
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send these very bytes."""
        if self.lost.done() or self.transport.is_closing():
            return
        self.sent += len(data)
        if self._tls is not None:
            if data:
                self._tls.write(data)
            data = self._out.read()
        self.transport.write(data)

    async def sendSlowly(self, data: bytes, together: int = 1) -> None:
        """Send a message, or bytes, each byte by itself.

        :param together: how many of the last ones are not.
        """
        last = len(data) - together
        for at in range(last):
            self.write(data[at : at + 1])
            if not at % OTHERS_TURN:
                await asyncio.sleep(0)
        self.write(data[max(last, 0) :])

    async def drained(self) -> None:
        """Wait until more can be sent."""
        await self._canWrite.wait()

    def deafen(self) -> None:
        """Read nothing."""
        self._takeAtMost(LITTLE)
        self.transport.pause_reading()

    def listen(self) -> None:
        """Read again, and fast, or the server's pings come too late behind all that waits."""
        self._takeAtMost(MUCH)
        self.transport.resume_reading()

    def _takeAtMost(self, size: int) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    # Ending

    def leave(self) -> None:
        """Say goodbye: we send nothing more, and read on."""
        if self.lost.done() or self.transport.is_closing():
            return
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):  # it wants the answer, which may not come
                self._tls.unwrap()
            self.transport.write(self._out.read())
        self.transport.write_eof()

    def reset(self) -> None:
        """Break the connection; what is on its way may be lost."""
        if not self.lost.done():
            raw = self.transport.get_extra_info("socket")
            if raw.family != socket.AF_UNIX:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()

    async def close(self) -> str:
        """Wait until the server has ended it, and close; return how it did."""
        how = await asyncio.shield(self.ended)
        self.transport.close()
        await self.lost
        return how


class WebSocketWire(Wire):
    """WebSocket.

    :param opcode: of our messages.
    :ivar messages: opcode and size of those that carried payload.
    """

    isWebSocket = True

    def __init__(self, transport: str, isSecure: bool, opcode: int) -> None:
        super().__init__(transport, isSecure)
        self.opcode = opcode
        self.messages: list[tuple[int, int]] = []
        self._isUpgraded = False
        self._isRelaying = False
        self._raw = b""
        self._left = 0  # of the frame's payload
        self._isLast = True  # the frame ends a message
        self._kind = self._size = 0
        self._isInFrame = False  # of ours, where no other may be
        self._answers = b""
        self._hasLeft = False

    async def ready(self) -> None:
        await super().ready()
        self.write(UPGRADE)
        if not await self.until(lambda: self._isUpgraded):
            raise ConnectionError("no upgrade")

    def _arrived(self, data: bytes) -> None:
        self.received += len(data)
        self._raw += data
        if not self._isUpgraded:
            head, end, rest = self._raw.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self._end(head[9:12].decode())
                return
            self._isUpgraded, self._raw = True, rest
            self._changed.set()
        while self._raw and self._frame():
            pass

    def _frame(self) -> bool:
        """Take a frame, or what is there of it; return whether there was one."""
        if self._left:
            part, self._raw = self._raw[: self._left], self._raw[self._left :]
            self._left -= len(part)
            self._payload(part)
            return True
        raw = self._raw
        size, at = raw[1] & 0x7F if len(raw) > 1 else 0, 2
        if size > 125:
            at = 4 if size == 126 else 10
            size = int.from_bytes(raw[2:at], "big")
        opcode = raw[0] & 0x0F
        if len(raw) < at or (opcode >= CLOSE and len(raw) < at + size):
            return False
        if opcode >= CLOSE:
            self._raw = raw[at + size :]
            self._controlled(opcode, raw[at : at + size])
            return True
        self._raw, self._left, self._isLast = raw[at:], size, bool(raw[0] & 0x80)
        if opcode:
            self._kind, self._size = opcode, 0
        if not size:
            self._payload(b"")
        return True

    def _payload(self, part: bytes) -> None:
        self._size += len(part)
        if self._isLast and not self._left and self._isRelaying:
            self.messages.append((self._kind, self._size))
        if part:
            self._take(part)

    def _controlled(self, opcode: int, payload: bytes) -> None:
        if opcode in ANSWERS and not self._hasLeft:
            self._answers += frame(ANSWERS[opcode], payload if opcode == PING else payload[:2])
            self._answer()
        if opcode == CLOSE:
            self._end(str(int.from_bytes(payload[:2], "big")))

    def _answer(self) -> None:
        if not self._isInFrame:
            answers, self._answers = self._answers, b""
            self.write(answers)

    def _take_payload(self, take: Callable[[bytes], object]) -> None:
        super()._take_payload(take)
        self._isRelaying = True

    def send(self, data: bytes) -> None:
        self.write(frame(self.opcode, data))

    async def sendSlowly(self, data: bytes, together: int = 1) -> None:
        self._isInFrame = True
        try:
            await super().sendSlowly(frame(self.opcode, data), together)
        finally:
            self._isInFrame = False
            self._answer()

    def leave(self) -> None:
        self._hasLeft = True
        self.write(frame(CLOSE, (1000).to_bytes(2, "big")))


async def connect(transport: str, address: Any, source: str, opcode: int = TEXT) -> Wire:
    """Connect.

    :param address: a port of 127.0.0.1, or the path of a Unix socket.
    :param source: the address to come from.
    """
    loop = asyncio.get_running_loop()
    isSecure = transport in ("wss", "tls")

    def make() -> Wire:
        if transport in ("ws", "wss"):
            return WebSocketWire(transport, isSecure, opcode)
        return Wire(transport, isSecure)

    if transport == "unix":
        _transport, wire = await loop.create_unix_connection(make, address)
    else:
        _transport, wire = await loop.create_connection(
            make, "127.0.0.1", address, local_addr=(source, 0), family=socket.AF_INET
        )
    return wire
