"""The load generator's connections: WebSocket by picows, streams by asyncio, both on uvloop.

Owns framing and TLS of the client's side. Knows nothing of tunnels, and does not look at payload.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.names import isSecure, isWebSocket

LARGEST_FRAME = 4 << 20
"""Bytes; above the largest message."""
BACKLOG = 1024
"""Connections from haproxy that wait to be accepted; the usual 100 is too few for set-up."""
SOURCES = 100
"""Addresses of this machine that connections come from in turn. A closed one keeps its port for a
minute, and one address has 28,000: too few for the set-up of thousands, and what is to listen on
127.0.0.1 would find none either."""

Receive = Callable[["bytes | memoryview", "bool | None"], None]
"""Takes payload as it comes, and whether a message ends with it; None on a stream."""


def clientContext() -> ssl.SSLContext:
    """TLS 1.3 for clients that believe every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def serverContext(certificate: Path) -> ssl.SSLContext:
    """TLS 1.3 for the side that haproxy connects to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    return context


TEXT, BINARY = 1, 2


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a WebSocket message of a client: one frame, masked with a random key."""
    size = len(payload)
    first = 0x80 | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    key = os.urandom(4)
    keys = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return head + key + masked.to_bytes(size, "big")


class Wire:
    """One connection.

    :ivar receive: gets what comes. At first it is kept, for `line` and `take`.
    :ivar closed: done when the connection is gone.
    :ivar problem: what the server did wrong, as far as it shows in framing.
    :ivar canWrite: cleared while the kernel takes no more.
    :ivar takesBinary: what comes in WebSocket messages may be binary.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._waiting: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.receive: Receive = self._collect
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.problem: str | None = None
        self.takesBinary = False
        self.canWrite = asyncio.Event()
        self.canWrite.set()

    def _collect(self, data: bytes | memoryview, _last: bool | None) -> None:
        self._kept += data
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def line(self) -> bytes:
        """Return the next line, without its end.

        :raises ConnectionError: the connection was closed.
        """
        await self._until(lambda: b"\n" in self._kept)
        line, _newline, rest = self._kept.partition(b"\n")
        self._kept = rest
        return bytes(line)

    async def take(self, count: int) -> bytes:
        """Return so many of the next bytes.

        :raises ConnectionError: the connection was closed.
        """
        await self._until(lambda: len(self._kept) >= count)
        taken = bytes(self._kept[:count])
        del self._kept[:count]
        return taken

    async def _until(self, isThere: Callable[[], bool]) -> None:
        while not isThere():
            if self.closed.done():
                raise ConnectionError(f"the server closed, after {bytes(self._kept)!r}")
            self._waiting = self._loop.create_future()
            await self._waiting

    def _gone(self) -> None:
        self.canWrite.set()
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        self.canWrite.clear()

    def resume_writing(self) -> None:
        self.canWrite.set()

    @property
    def transport(self) -> Any:
        """asyncio's transport."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send what has been framed before."""
        self.transport.write(data)

    def send(self, payload: bytes) -> None:
        """Frame and send."""
        raise NotImplementedError

    def close(self) -> None:
        """Say goodbye, in the way of the protocol."""
        raise NotImplementedError


class StreamWire(Wire, asyncio.Protocol):
    """TCP or TLS."""

    _transport: asyncio.Transport

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.receive(data, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def send(self, payload: bytes) -> None:
        self.write(payload)

    def close(self) -> None:
        self._transport.close()


class WebSocketWire(Wire, WSListener):
    """ws or wss."""

    _webSocket: WSTransport

    @property
    def transport(self) -> Any:
        return self._webSocket.underlying_transport

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._webSocket = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        isBinary = kind == WSMsgType.BINARY
        if kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION) or (isBinary and self.takesBinary):
            self.receive(frame.get_payload_as_memoryview(), frame.fin)
        elif isBinary:
            self.problem = "a text message became binary"
        elif kind == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._gone()

    def send(self, payload: bytes) -> None:
        self.write(frame(payload))

    def close(self) -> None:
        self._webSocket.send_close(WSCloseCode.OK)


_sources = itertools.cycle(f"127.2.0.{number + 1}" for number in range(SOURCES))


async def connect(
    transport: str,
    address: tuple[str, int],
    source: str | None = None,
    context: ssl.SSLContext | None = None,
) -> StreamWire | WebSocketWire:
    """Connect to a server.

    :param source: the address to connect from.
    :param context: for TLS, if not that of all.
    :raises OSError: there is no connection.
    """
    host, port = address
    local = source or next(_sources), 0
    context = (context or CONTEXT) if isSecure(transport) else None
    if isWebSocket(transport):
        _webSocket, listener = await ws_connect(
            WebSocketWire,
            f"{transport}://{host}:{port}/",
            ssl_context=context,
            max_frame_size=LARGEST_FRAME,
            local_addr=local,
        )
        if not isinstance(listener, WebSocketWire):  # as picows has it
            raise ConnectionError("the server closed during the handshake")
        return listener
    loop = asyncio.get_running_loop()
    _transport, wire = await loop.create_connection(
        StreamWire, host, port, ssl=context, local_addr=local
    )
    return wire


async def listen(
    context: ssl.SSLContext | None, accepted: Callable[[StreamWire], None]
) -> asyncio.Server:
    """Accept streams on a free port of 127.0.0.1."""

    class Accepted(StreamWire):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            accepted(self)

    loop = asyncio.get_running_loop()
    return await loop.create_server(
        Accepted, "127.0.0.1", 0, ssl=context, backlog=BACKLOG, family=socket.AF_INET
    )


CONTEXT = clientContext()
