"""``python -m benchmarks.snitunpeer server|home``: snitun, with which Home Assistant Cloud works.

Owns how it is started; PyPI has it. It says a line when it is ready, and ends with its standard
input.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from datetime import timedelta
from typing import Any

from benchmarks.helper import answer, isAsked

NAME = "home.example"
KEY = "0" * 43 + "="
"""Of Fernet, 32 bytes in base64. It protects nothing here."""
AES = bytes(32), bytes(16)


def clientHello() -> bytes:
    """Return the first record of a handshake, by which snitun finds the home."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME).do_handshake()
    return outgoing.read()


async def _server() -> None:
    from snitun.server.run import SniTunServerSingle

    server: Any = SniTunServerSingle([KEY], host="127.0.0.1", port=0)
    server._port = 0  # it would take 443 for it
    await server.start()
    answer(server._server.sockets[0].getsockname()[1])


async def _home(proxy: int, service: int) -> Any:
    from snitun.client.client_peer import ClientPeer
    from snitun.client.connector import Connector
    from snitun.utils.server import generate_client_token

    peer = ClientPeer("127.0.0.1", proxy)
    token = generate_client_token([KEY], timedelta(days=1), NAME, *AES)
    await peer.start(Connector("127.0.0.1", service), token, *AES)
    answer("connected")
    return peer


async def main() -> None:
    role, *ports = sys.argv[1:]
    _peer = await (_server() if role == "server" else _home(*map(int, ports)))
    while await isAsked():
        pass


if __name__ == "__main__":
    asyncio.run(main())
