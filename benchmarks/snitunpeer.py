"""``python -m benchmarks.snitunpeer server|home``: snitun, with which Home Assistant Cloud works.

Owns how it is started; PyPI has it. It says a line when it is ready, and ends with its standard
input. ``version`` says what there is. Runs with an interpreter that has snitun and uvloop, and need
not have anything else.
"""

from __future__ import annotations

import asyncio
import platform
import sys
from datetime import timedelta
from importlib import metadata
from typing import Any

from benchmarks.helper import answer, isAsked
from benchmarks.lab import raiseFileLimit
from benchmarks.visitor import HOME

KEY = "0" * 43 + "="
"""Of Fernet, 32 bytes in base64. It protects nothing here."""
PIECE = 64 << 10
"""Bytes; our own client reads as much."""
AES = bytes(32), bytes(16)


async def _server() -> None:
    from snitun.server.run import SniTunServerSingle

    server: Any = SniTunServerSingle([KEY], host="127.0.0.1", port=0)
    server._port = 0  # it would take 443 for it
    await server.start()
    answer(server._server.sockets[0].getsockname()[1])


class _Reader(asyncio.StreamReader):
    """Reads as much at a time as there is.

    In Home Assistant a frame is what TLS has for the visitor, tens of KiB. The client that leads to
    a socket instead would ask for 4 KiB at a time, and each frame costs the server.
    """

    async def read(self, n: int = -1) -> bytes:
        return await super().read(PIECE if n > 0 else n)


async def _home(proxy: int, service: int) -> Any:
    import snitun
    from snitun.client import connector
    from snitun.client.client_peer import ClientPeer
    from snitun.utils.server import generate_client_token

    peer = ClientPeer("127.0.0.1", proxy)
    token = generate_client_token([KEY], timedelta(days=1), HOME, *AES)
    asyncio.streams.StreamReader = _Reader  # type: ignore[misc]
    # 0.40, the last for Python 3.11, has one kind of connector, and one version of its protocol.
    kind = getattr(connector, "EndpointConnector", None) or connector.Connector
    spoken = getattr(snitun, "PROTOCOL_VERSION", None)
    version = {} if spoken is None else {"protocol_version": spoken}
    await peer.start(kind("127.0.0.1", service), token, *AES, **version)
    answer("connected")
    return peer


async def main() -> None:
    role, *ports = sys.argv[1:]
    _peer = await (_server() if role == "server" else _home(*map(int, ports)))
    while await isAsked():
        pass


def _versions() -> str:
    packages = " on ".join(f"{name} {metadata.version(name)}" for name in ("snitun", "uvloop"))
    return f"{packages}, Python {platform.python_version()}"


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print(_versions())
    else:
        import uvloop  # where this is imported it need not be there

        raiseFileLimit()
        uvloop.run(main())
