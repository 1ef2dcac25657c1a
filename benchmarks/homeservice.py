"""``python -m benchmarks.homeservice``: the service at home that visitors reach through a tunnel.

Owns what it does for each. Knows nothing of tunnels; but a visitor may begin with a TLS handshake's
first record, by which some proxies find the home, and that is passed over.

It says its port when it is ready, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib

from benchmarks.helper import answer, isAsked

ECHO, DOWNLOAD = b"e", b"d"
"""What a visitor asks for, by its first byte."""
SIZE = 64 << 20
"""Bytes of a download: more than all buffers on the way, and much less than a minute."""
PIECE = 64 << 10
HANDSHAKE = b"\x16"
"""The first byte of a TLS record that begins a handshake; 5 bytes, the last two its length, are
before its content (RFC 8446 section 5.1)."""


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        asked = await reader.readexactly(1)
        if asked == HANDSHAKE:
            head = await reader.readexactly(4)
            await reader.readexactly(int.from_bytes(head[2:]))
            asked = await reader.readexactly(1)
        if asked == DOWNLOAD:
            piece = bytes(PIECE)
            for _ in range(SIZE // PIECE):
                writer.write(piece)
                await writer.drain()
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    answer(server.sockets[0].getsockname()[1])
    while await isAsked():
        pass


if __name__ == "__main__":
    asyncio.run(main())
