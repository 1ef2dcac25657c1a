"""The authentication server, which is as good as the token says.

Owns its answers. Knows nothing of what the server makes of them.
"""

from __future__ import annotations

import asyncio
import json

SLOW = 0.3
"""Seconds: less than the server waits."""
_ANSWERS = {
    "good": b'{"isValid": true}',
    "slow": b'{"isValid": true}',
    "bad": b'{"isValid": false}',
    "broken": b'{"isValid": tru',
}


class Backend:
    """Listens on a free port of 127.0.0.1.

    :ivar port: its own.
    """

    def __init__(self) -> None:
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Begin."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def hangUp(self) -> None:
        """Close the connections that are kept for the next question."""
        for writer in self._writers:
            writer.close()

    def close(self) -> None:
        """End."""
        self._server.close()
        self.hangUp()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # who asked does not want to know any more
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a question; return whether to expect another one."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        token = json.loads(await reader.readexactly(length))["token"]
        how = token.rpartition("-")[2]
        if how == "silent":
            await reader.read()  # until whoever asked gives up
            return False
        if how == "slow":
            await asyncio.sleep(SLOW)
        body = _ANSWERS[how]
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await writer.drain()
        return True
