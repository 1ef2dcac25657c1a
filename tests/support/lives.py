"""Servers that live through a reload or a drain, and what they say meanwhile."""

from __future__ import annotations

import hashlib
import json
import ssl
from typing import Any

from tests.support.endtoend import (
    SIGHUP,
    STREAM,
    TLS_STREAM,
    EndToEnd,
    Program,
    Server,
    Stream,
    call,
    connect,
    join,
    secret,
)
from tests.support.moving import Traffic

DRAINING = "draining: no new clients"


def fingerprint(url: str) -> bytes:
    """Return the SHA-256 fingerprint of the certificate that a listener shows."""
    client = Stream(url)
    try:
        assert isinstance(client.socket, ssl.SSLSocket)
        return hashlib.sha256(client.socket.getpeercert(True) or b"").digest()
    finally:
        client.close()


def hello(url: str) -> dict[str, Any]:
    """Return what a server says of itself."""
    client = connect(url)
    try:
        client.sendMessage(call("RemoteProxy.Hello"))
        params: dict[str, Any] = json.loads(client.message())["params"]
        return params
    finally:
        client.close()


def watch(path: str, **params: Any) -> Any:
    """Return what a monitor socket tells who asks."""
    request = {"method": "refresh", **({"params": params} if params else {})}
    asking = Stream(f"unix:{path}")
    try:
        asking.send(json.dumps(request).encode() + b"\n")
        return json.loads(asking.line())
    finally:
        asking.close()


def reload(server: Server, expected: str = "reloaded") -> int:
    """Have everything read anew; return the position of what the server wrote about it."""
    mark = server.mark()
    server.signal(SIGHUP)
    server.waitFor(expected, mark)
    return mark


def errors(server: Program, since: int) -> list[str]:
    """Return the texts of the log lines of level error."""
    return [match[1] for match in server.find(r"(?:^\S+ error +|#error\] )(.*)$", since)]


class LifeCase(EndToEnd):
    """Helpers for servers with a listener of every kind."""

    twistd = False

    def launch(self, *arguments: str) -> Server:
        """Start it; `self.token` is let in."""
        self.token = secret()
        self.path = str(self.temporary() / "socket")
        return self.start(
            *("--websocket", STREAM, "--websocket", TLS_STREAM, "--stream", STREAM),
            *("--stream", TLS_STREAM, "--stream", f"unix:{self.path}", "--token", self.token),
            *arguments,
            twistd=self.twistd,
            listeners=5,
        )

    def fill(self, server: Server) -> tuple[Traffic, list[tuple[Stream, Stream]]]:
        """Fill tunnels between all kinds of transports with data."""
        kinds = (("ws", "wss"), ("wss", "tls"), ("tcp", "unix"), ("tls", "ws"), ("unix", "tcp"))
        tunnels = []
        for one, other in kinds:
            token = self.token
            pair = (
                join(server.url(one), token, nonce=f"{one}-{other}"),
                join(server.url(other), token, nonce=f"{one}-{other}"),
            )
            for client in pair:
                self.assertIn(b"Tunnel.Established", client.message())
            self.keep(*pair)
            tunnels.append(pair)
        return Traffic(tunnels), tunnels
